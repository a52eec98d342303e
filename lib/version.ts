// Which version this is: that of deno.json.

import manifest from "../deno.json" with { type: "json" };

export const VERSION: string = manifest.version;
