// The page in a call on a real SFU: joins with LiveKit's own client and shows who is there. Sends no sound or picture.

const CLIENT = "/livekit-client.mjs";

/** One call at a time; the elements are where it shows itself. */
export class Call {
  // Two pages of one user are two devices, or the SFU would throw the first one out.
  device = `PAGE${crypto.getRandomValues(new Uint32Array(1))[0].toString(36).toUpperCase()}`;
  #elements;
  #room = null;
  #turn = Promise.resolve();

  constructor(elements) {
    this.#elements = elements;
    elements.leave.addEventListener("click", () => {
      elements.state.focus(); // the button is about to go
      void this.join(null);
    });
  }

  /** Leaves the call that the page is in, and joins the one that the answer is for, if there is an answer. */
  join(answer) {
    this.#turn = this.#turn.then(() => this.#change(answer));
    return this.#turn;
  }

  async #change(answer) {
    const left = this.#room;
    this.#room = null;
    await left?.disconnect();
    this.#show("Not in a call.");
    if (answer === null) return;

    this.#show("Joining …");
    const { Room, RoomEvent, DisconnectReason } = await import(CLIENT);
    const room = new Room();
    this.#room = room;
    const refresh = () => this.#room === room && this.#show("In the call.");
    for (
      const event of [
        RoomEvent.ParticipantConnected,
        RoomEvent.ParticipantDisconnected,
        RoomEvent.Reconnected,
      ]
    ) room.on(event, refresh);
    room.on(RoomEvent.Reconnecting, () => this.#room === room && this.#show("Reconnecting …"));
    room.on(RoomEvent.Disconnected, (reason) => {
      if (this.#room !== room) return;
      this.#room = null;
      this.#show(`Out of the call: ${DisconnectReason[reason] ?? "the SFU is gone"}.`);
    });
    try {
      await room.connect(answer.url, answer.jwt);
      refresh();
    } catch (error) {
      if (this.#room === room) this.#room = null;
      this.#show(`Cannot join: ${error.message}`);
    }
  }

  #show(text) {
    const { state, participants, leave } = this.#elements;
    const room = this.#room;
    const isIn = room?.state === "connected";
    state.textContent = text;
    leave.hidden = !isIn;
    const people = isIn ? [room.localParticipant, ...room.remoteParticipants.values()] : [];
    participants.replaceChildren(...people.map(({ identity }) => {
      const item = document.createElement("li");
      const name = document.createElement("code");
      name.textContent = identity;
      item.append(name);
      if (identity === room.localParticipant.identity) {
        const note = document.createElement("span");
        note.className = "hint";
        note.textContent = " (this page)";
        item.append(note);
      }
      return item;
    }));
  }
}
