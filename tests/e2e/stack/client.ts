// A real participant: LiveKit's own client library with its native WebRTC, joining as a Matrix client does with the URL
// and the token it was given.

import manifest from "../../../deno.json" with { type: "json" };

// Else the library prints debug lines; it looks when it is loaded.
Deno.env.set("NODE_ENV", "production");
const { dispose, Room } = await import("@livekit/rtc-node");

console.log(`LiveKit client: ${manifest.imports["@livekit/rtc-node"].replace("npm:", "")}`);

// The SFU repeats a token that it does not like.
const JWT = /\beyJ[\w-]+\.[\w-]+\.[\w-]*/g;

/** The SFU let nobody in; the text is the library's, with the SFU's answer in it. */
export class JoinRefused extends Error {
  override name = "JoinRefused";
}

/** A participant that is in a room until it is disposed. */
export class Participant implements AsyncDisposable {
  readonly #room: InstanceType<typeof Room>;
  #leave: Promise<void> | undefined;

  constructor(room: InstanceType<typeof Room>) {
    this.#room = room;
  }

  /** Name of the room, in the SFU's words. */
  get roomName(): string | undefined {
    return this.#room.name;
  }

  /** Own identity, in the SFU's words. */
  get identity(): string | undefined {
    return this.#room.localParticipant?.identity;
  }

  /** Leaves; the SFU sees an intentional leave. May be called again. */
  async [Symbol.asyncDispose](): Promise<void> {
    await (this.#leave ??= this.#room.disconnect());
  }
}

/**
 * Joins the room of a token, media connection included.
 *
 * @throws JoinRefused
 */
export async function joinRoom(url: string, jwt: string): Promise<Participant> {
  const room = new Room();
  try {
    await room.connect(url, jwt, { autoSubscribe: true, dynacast: false });
  } catch (error) {
    const text = error instanceof Error ? error.message : String(error);
    throw new JoinRefused(text.replace(JWT, "[JWT]"));
  }
  return new Participant(room);
}

/** Ends the library's native part: after the last participant, or the process stays. */
export function closeClients(): Promise<void> {
  return dispose();
}
