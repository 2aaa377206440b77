/** Why: which requests are slow, and what they have in common. */

import { Filters } from "../filters";

export function Why() {
  return <Filters />;
}
