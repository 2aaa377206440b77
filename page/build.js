// Builds the page into logproc/web/assets: the same sources always give the same bytes.
// `node build.js DIRECTORY` builds elsewhere, to compare.

import { createHash } from "node:crypto";
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
const target = process.argv[2] ?? join(here, "../logproc/web/assets");

const built = await build({
  entryPoints: [join(here, "src/main.tsx")],
  absWorkingDir: here,
  bundle: true,
  minify: true,
  format: "esm",
  target: "es2022",
  charset: "utf8",
  legalComments: "none",
  outdir: target,
  write: false,
});

mkdirSync(target, { recursive: true });
for (const name of readdirSync(target)) rmSync(join(target, name), { recursive: true });

const names = {};
for (const { path, contents } of built.outputFiles) {
  const ending = path.endsWith(".css") ? "css" : "js";
  const hash = createHash("sha256").update(contents).digest("hex").slice(0, 12);
  names[ending] = `app.${hash}.${ending}`;
  writeFileSync(join(target, names[ending]), contents);
}

const page = readFileSync(join(here, "index.html"), "utf8");
writeFileSync(join(target, "index.html"), page.replace("STYLE", names.css).replace("SCRIPT", names.js));

const licences = ["preact", "uplot"].map((name) => {
  const folder = join(here, "node_modules", name);
  const { version } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
  return `${name} ${version}\n\n${readFileSync(join(folder, "LICENSE"), "utf8").trim()}\n`;
});
writeFileSync(join(target, "licences.txt"), `The page contains these libraries.\n\n${licences.join("\n\n")}`);
