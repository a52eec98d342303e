// Homeservers and an SFU that answer in every hostile way there is, to the OpenID look-up, to CreateRoom and to the calls
// for a delayed event, as many at once as the service asks.

import net from "node:net";
import { DevelopmentHomeserver } from "../fake_homeserver.ts";
import { DEVELOPMENT_API_SECRET } from "../fake_sfu.ts";
import { HOSTILE_ANSWERS, type HostileAnswer } from "../hostile_answers.ts";
import { ListeningServer } from "../listening_server.ts";
import { inLoops, post, type Pressure } from "./pressure.ts";

const LOOPS_PER_ANSWER = 12;
const LOOPS_OF_GOOD_USERS = 200;
const DELAY_MS = 4000;

/** Hostile answers wherever the service asks. */
export const hostileAnswers: Pressure = {
  what: `${HOSTILE_ANSWERS.length} kinds of hostile answers of homeservers and of the SFU`,
  async prepare(parts) {
    const listen = async (server: net.Server) => parts.use(await ListeningServer.listen(server)).port;
    const good = parts.use(await DevelopmentHomeserver.start({ serverName: "good.example" }));
    const ports = await Promise.all(HOSTILE_ANSWERS.map((row) => listen(answering(() => row))));
    let turn = 0;
    const sfu = await listen(answering(() => HOSTILE_ANSWERS[turn++ % HOSTILE_ANSWERS.length]));
    const events = await listen(answering(() => HOSTILE_ANSWERS[turn++ % HOSTILE_ANSWERS.length]));
    return {
      variables: {
        LIVEKIT_URL: `ws://127.0.0.1:${sfu}`,
        LIVEKIT_KEY: "devkey",
        LIVEKIT_SECRET: DEVELOPMENT_API_SECRET,
        LIVEKIT_LOG_LEVEL: "error",
        LIVEKIT_FULL_ACCESS_HOMESERVERS: "good.example",
        LIVEKIT_FEDERATION_URL_OVERRIDES: [`good.example=${good.url.origin}`]
          .concat(ports.map((port, index) => `${nameOf(index)}=http://127.0.0.1:${port}`)).join(","),
        LIVEKIT_CS_API_URL_OVERRIDES: `good.example=http://127.0.0.1:${events}`,
      },
      async press(url, over) {
        const hostile = inLoops(LOOPS_PER_ANSWER * HOSTILE_ANSWERS.length, over, (loop) =>
          post(`${url}/sfu/get`, {
            room: "!room",
            device_id: "DEVICE",
            openid_token: {
              access_token: crypto.randomUUID(),
              matrix_server_name: nameOf(loop % HOSTILE_ANSWERS.length),
            },
          }, over));
        let users = 0;
        const ordinary = inLoops(LOOPS_OF_GOOD_USERS, over, () => {
          const user = `user${users++}`;
          return post(`${url}/get_token`, {
            room_id: `!${user}:good.example`,
            slot_id: "m.call#ROOM",
            openid_token: good.mintOpenIdToken(user),
            member: { id: "member", claimed_user_id: `@${user}:good.example`, claimed_device_id: "DEVICE" },
            delay_id: `delay-${user}`,
            delay_timeout: DELAY_MS,
          }, over);
        });
        return `${await hostile} requests that met hostile homeservers, ${await ordinary} that met a hostile SFU`;
      },
    };
  },
};

function nameOf(index: number): string {
  return `hostile${index}.example`;
}

/** Answers the first request of each connection; what comes after it waits for ever. */
function answering(next: () => HostileAnswer | undefined): net.Server {
  return net.createServer((socket) => {
    socket.once("data", () => {
      socket.resume();
      next()?.answer(socket);
    });
  });
}
