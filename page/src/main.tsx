/** Where the page begins. */

import { render } from "preact";
import "uplot/dist/uPlot.min.css";
import "./app.css";
import { Shell } from "./shell";

render(<Shell />, document.body);
