// A participant in a process of its own: joins with the URL and the token in its environment, says so, and leaves on
// SIGTERM.

import { closeClients, joinRoom } from "./client.ts";

const participant = await joinRoom(Deno.env.get("SFU_URL") ?? "", Deno.env.get("SFU_TOKEN") ?? "");
const stay = setInterval(() => {}, 60_000);
Deno.addSignalListener("SIGTERM", async () => {
  await participant[Symbol.asyncDispose]();
  await closeClients();
  clearInterval(stay);
  Deno.exit();
});
console.log("joined");
