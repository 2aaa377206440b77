"""The stack of containers: the file is valid, safe by default, and says what the code says.

There is no engine here: docker-compose itself reads the file, and what the services run is run by hand in
test_running_stack.py.
"""

from __future__ import annotations

import inspect
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from logproc import __version__
from logproc.settings import ElasticsearchStore, Settings, SqliteStore
from logproc.settings_file import load
from serve.settings import Settings as ServeSettings
from serve.settings import read_settings
from tests.stack.compose import BIN, FILE, PIPELINE, ROOT, config, mounts, project, services

ONCE = {"setup-elasticsearch", "setup-kibana", "setup-users"}
OURS = {"stand-in", "logproc", "setup-elasticsearch", "setup-kibana"}
ROOT_USER = {"dcgm-exporter"}
WRITABLE = {"elasticsearch", "kibana", "dcgm-exporter"}


def variables(text: str) -> dict[str, str]:
    """`${NAME:-default}` in docker-compose.yml."""
    return dict(re.findall(r"\$\{([A-Z_]+):-([^}]*)\}", text))


def choices() -> dict[str, str]:
    lines = (ROOT / ".env.example").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def test_docker_compose_accepts_it_with_nothing_set_and_with_every_choice_of_the_example() -> None:
    for env in ({}, choices(), choices() | {"COMPOSE_PROFILES": "gpu", "STAND_IN": "0"}):
        done = config("--quiet", env=env)
        assert (done.returncode, done.stderr) == (0, "")


def test_the_example_of_choices_names_every_variable_with_its_default() -> None:
    assert choices() == {"COMPOSE_PROFILES": "", **variables(FILE.read_text())}


def test_without_a_choice_no_gpu_is_needed_and_with_one_vllm_takes_the_stand_ins_place() -> None:
    default = set(config("--services").stdout.split())
    gpu = set(config("--services", env={"COMPOSE_PROFILES": "gpu", "STAND_IN": "0"}).stdout.split())

    assert gpu - default == {"vllm", "dcgm-exporter"}
    assert not [name for name in default if "devices" in str(services()[name].get("deploy", ""))]


@pytest.mark.parametrize("file", ["Dockerfile", "Dockerfile.vllm"])
def test_hadolint_finds_nothing_in_the_dockerfiles(file: str) -> None:
    done = subprocess.run([BIN / "hadolint", ROOT / file], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("name", sorted(services()))
def test_every_service_is_pinned_bounded_without_privileges_and_watched(name: str) -> None:
    service = services()[name]

    assert re.search(r":v?\d+\.\d+", service["image"]), "a version, and not `latest`"
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["pids_limit"]
    assert service.get("mem_limit") or name == "vllm", "vLLM takes what the model needs"
    assert service["logging"]["options"]["max-size"]
    assert service.get("read_only", False) is (name not in WRITABLE)
    assert (service.get("user", "0").split(":")[0] != "0") is (name not in ROOT_USER)
    watched = service.get("healthcheck", {}).get("test") or name in {"logproc", "vllm"}  # theirs is in the Dockerfile
    assert watched or name in ONCE
    assert not service.get("privileged")
    assert service.get("network_mode") is None


def test_nothing_is_published_beyond_this_machine() -> None:
    published = [port for each in services().values() for port in each.get("ports", [])]

    assert published
    assert {port["host_ip"] for port in published} == {"127.0.0.1"}
    assert len({port["published"] for port in published}) == len(published)


def test_set_up_comes_after_what_it_sets_up_and_before_what_needs_it() -> None:
    def after(name: str) -> dict[str, str]:
        return {other: each["condition"] for other, each in services()[name].get("depends_on", {}).items()}

    assert after("setup-users") == {"elasticsearch": "service_healthy"}
    assert after("setup-elasticsearch") == {"setup-users": "service_completed_successfully"}
    assert after("kibana") == {"setup-users": "service_completed_successfully"}
    assert after("setup-kibana") == {
        "kibana": "service_healthy",
        "setup-elasticsearch": "service_completed_successfully",
    }
    assert after("logproc") == {}, "a dead Elasticsearch delays no metric and no alert"


def test_secrets_are_files_that_one_script_makes_and_none_is_in_the_environment(tmp_path: Path) -> None:
    script = ["sh", str(ROOT / "deploy" / "make-secrets.sh"), str(tmp_path / "made")]
    subprocess.run(script, check=True, capture_output=True)
    first = {path.name: path.read_text() for path in (tmp_path / "made").iterdir()}
    again = subprocess.run(script, check=True, capture_output=True)

    assert again.stdout == b""
    assert {path.name: path.read_text() for path in (tmp_path / "made").iterdir()} == first
    assert set(first) == set(project()["secrets"])
    assert {len(text) for name, text in first.items() if name != "hf_token"} == {48}
    assert (tmp_path / "made").stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "made").iterdir()} == {0o444}
    for service in services().values():
        for name, value in (service.get("environment") or {}).items():
            secret = re.search(r"PASSWORD|TOKEN|KEY", name)
            assert not secret or str(value).startswith("/run/secrets/"), name


def test_the_secrets_that_a_service_reads_are_given_to_it() -> None:
    for name, service in services().items():
        read = set(re.findall(r"/run/secrets/(\w+)|\$\$?\(secret (\w+)\)", yaml.safe_dump(service)))
        given = {each["source"] for each in service.get("secrets", [])}
        assert {one or other for one, other in read} <= given | {""}, name
    pipeline = PIPELINE.read_text()
    for name, others in {
        "logproc": {"elastic_password"},
        "setup-kibana": {"logproc_token", "logproc_password"},
    }.items():
        given = {each["source"] for each in services()[name]["secrets"]}
        assert given | others == set(re.findall(r"^(?!#).*/run/secrets/(\w+)", pipeline, re.MULTILINE))


def test_logproc_reads_where_the_servers_write_and_answers_where_the_port_is_published() -> None:
    settings = load(PIPELINE, {})
    port = Settings.model_validate({"logs": {"paths": ["-"]}}).http.port
    (pattern,) = settings.logs.paths
    name = Path(ServeSettings().path)  # logs/access.jsonl

    assert settings.http.port == port
    assert services()["logproc"]["ports"][0]["target"] == port
    assert Path(pattern).match(name.name.replace(".jsonl", "*.jsonl"))
    for server in ("stand-in", "vllm"):
        written = Path(services()[server]["environment"]["LOGPROC_ACCESS_LOG"])
        assert written.name == name.name
        assert written.match(pattern)
        assert mounts(server)[str(written.parent)] == mounts("logproc")[str(Path(pattern).parent)] == "access-log"
    assert mounts("logproc")[str(settings.state)] == "logproc-state"
    users = {services()[each]["user"] for each in (*OURS, "vllm")}
    assert len(users) == 1, "each can read what the other writes"


def test_the_images_of_ours_say_the_same_as_the_code() -> None:
    image = (ROOT / "Dockerfile").read_text()
    vllm = (ROOT / "Dockerfile.vllm").read_text()
    settings = load(PIPELINE, {})
    user = services()["logproc"]["user"]

    assert f"USER {user}" in image
    assert f"USER {user}" in vllm
    assert f"EXPOSE {settings.http.port}" in image
    assert f"http://127.0.0.1:{settings.http.port}/healthz" in image
    for folder in (str(settings.state), str(Path(settings.logs.paths[0]).parent)):
        assert re.search(rf"install --directory --owner=10001 --group=10001 --mode=0750 [^\n]*{folder}", image)
    assert '"--middleware", "serve.AccessLogMiddleware"' in vllm
    assert all(services()[name]["command"][-1] in mounts(name) for name in OURS - {"stand-in"})


def test_logproc_may_write_its_own_indices_and_no_others() -> None:
    settings = load(PIPELINE, {})
    assert isinstance(settings.store, ElasticsearchStore)
    script = services()["setup-users"]["command"][0]
    role = re.search(r"/_security/role/(\w+) '(.*?)'", script, re.DOTALL)

    assert role is not None
    assert role[1] == settings.store.username
    indices = yaml.safe_load(role[2])["indices"][0]
    assert indices["names"] == [settings.store.index, f"{settings.store.index}-*"]
    assert {"manage_index_templates", "manage_ilm", "manage_ingest_pipelines"} <= set(
        yaml.safe_load(role[2])["cluster"]
    )


@pytest.mark.parametrize("name", ["prometheus", "alertmanager"])
def test_configurations_of_the_stack_differ_from_the_others_only_in_names(name: str) -> None:
    """What is written twice cannot drift: the routes of Alertmanager, the way to it, the rules."""
    host, stack = (yaml.safe_load((ROOT / f"pipelines/{where}/{name}.yml").read_text()) for where in (name, "compose"))
    text = yaml.safe_dump(host).replace("127.0.0.1:9470", "logproc:9470").replace("127.0.0.1:9093", "alertmanager:9093")
    host = yaml.safe_load(text)
    if name == "prometheus":
        jobs = {each["job_name"]: each for each in stack.pop("scrape_configs")}
        (logproc,) = (each for each in host.pop("scrape_configs") if each["job_name"] == "logproc")
        assert jobs["logproc"] == logproc | {"authorization": {"credentials_file": "/run/secrets/logproc_token"}}
        assert set(jobs) == {"logproc", "prometheus", "alertmanager", "node", "vllm", "dcgm"}
        host.pop("remote_write", None)

    assert stack == host


def test_prometheus_scrapes_services_that_are_there_at_ports_that_they_have() -> None:
    jobs = yaml.safe_load((ROOT / "pipelines/compose/prometheus.yml").read_text())["scrape_configs"]
    found = [target.split(":") for job in jobs for each in job.get("static_configs", ()) for target in each["targets"]]
    found += [[each["names"][0], str(each["port"])] for job in jobs for each in job.get("dns_sd_configs", ())]
    for name, port in found:
        service = services()["prometheus" if name == "127.0.0.1" else name]
        assert port in {str(each["target"]) for each in service.get("ports", ())} | set(service.get("expose", ()))


def test_every_file_that_is_mounted_exists() -> None:
    for name in services():
        for source in mounts(name).values():
            assert source == "/" or source in project()["volumes"] or (ROOT / source).exists(), source


def test_alertmanagers_receivers_are_routes_of_logproc() -> None:
    receivers = yaml.safe_load((ROOT / "pipelines/compose/alertmanager.yml").read_text())["receivers"]

    assert {each["name"] for each in receivers} == set(load(PIPELINE, {}).alerts.routes)
    for each in receivers:
        assert each["webhook_configs"][0]["url"] == f"http://logproc:9470/relay/alertmanager/{each['name']}"


def test_images_of_ours_have_the_version_of_the_code() -> None:
    names = [services()[name]["image"] for name in (*OURS, "vllm")]
    manifests = "".join(path.read_text() for path in (ROOT / "deploy/kubernetes").rglob("*.yaml"))
    names += re.findall(r"image: (\S+)", manifests)

    assert {name.split(":")[0] for name in names} == {"logproc", "vllm-logproc"}
    assert {name.split(":")[1] for name in names} == {__version__}


def test_every_variable_of_ours_that_a_server_is_given_is_one_that_it_reads() -> None:
    files = ["docker-compose.yml", "Dockerfile.vllm", "deploy/systemd/vllm.service"]
    files += ["deploy/kubernetes/sidecar/statefulset.yaml", "docs/deploy.md", "docs/clients.md", "docs/retention.md"]
    given = {name for file in files for name in re.findall(r"\bLOGPROC_[A-Z_]+[A-Z]\b", (ROOT / file).read_text())}
    read = set(re.findall(r"LOGPROC_[A-Z_]+", inspect.getsource(read_settings)))

    assert given >= {"LOGPROC_ACCESS_LOG", "LOGPROC_USER_HEADER"}
    assert given - {"LOGPROC_PORT", "LOGPROC_PASSWORD"} <= read


def test_the_page_on_retention_has_the_numbers_of_the_code() -> None:
    page = (ROOT / "docs/retention.md").read_text()
    server = ServeSettings()
    elasticsearch = ElasticsearchStore(kind="elasticsearch")

    assert f"{server.keep} rotated files of {server.max_bytes >> 20} MiB" in page
    assert f"| {SqliteStore().keep_days} days | `store.keep_days`" in page
    assert f"| {elasticsearch.keep_days} days, to cold nodes after {elasticsearch.hot_days} |" in page
    assert f"| {variables(FILE.read_text())['PROMETHEUS_RETENTION'].removesuffix('d')} days or 10 GB" in page
