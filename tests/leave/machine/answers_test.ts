// Every answer of a homeserver, to a restart and to a send, in time and after the state has changed.

import { NO_FAILURES } from "../../../lib/leave/machine/job.ts";
import {
  answered,
  conflict,
  CONNECTED,
  done,
  failed,
  forbidden,
  gone,
  held,
  HOUR,
  late,
  LEAVING,
  limited,
  NOW,
  testRows,
  unauthorised,
  unsupported,
} from "./machine_table.ts";

testRows([
  // Answers to a restart
  [
    "restart done: the next at 0.8 × delay after the question",
    { ...CONNECTED, failures: { checks: 0, calls: 3 } },
    answered("restart", done),
    {
      effects: [],
      timerStartedAt: NOW - 400,
      callAt: NOW - 400 + 8000,
      failures: NO_FAILURES,
    },
  ],
  [
    "restart done, delay of 100 ms: no more than one a second",
    { ...CONNECTED, delayMs: 100 },
    answered("restart", done),
    {
      effects: [],
      callAt: NOW - 400 + 1000,
    },
  ],
  [
    "restart done, delay of 24 h: early, the real one may be shorter",
    { ...CONNECTED, delayMs: 24 * HOUR },
    answered("restart", done),
    {
      effects: [],
      callAt: NOW - 400 + 285_000,
    },
  ],
  ["restart of an event that is gone: over", CONNECTED, answered("restart", gone), { end: "gone" }],
  ["restart of an event finished otherwise: over", CONNECTED, answered("restart", conflict), { end: "gone" }],
  ["restart unauthorised: over", CONNECTED, answered("restart", unauthorised), { end: "refused" }],
  ["restart forbidden: over", CONNECTED, answered("restart", forbidden), { end: "refused" }],
  ["restart unsupported: over", CONNECTED, answered("restart", unsupported), { end: "refused" }],
  ["restart limited: as the homeserver says", CONNECTED, answered("restart", limited), {
    effects: [],
    callAt: NOW + 964,
  }],
  ["restart failed: soon again", CONNECTED, answered("restart", failed), {
    effects: [],
    callAt: NOW + 500,
    failures: { checks: 0, calls: 1 },
  }],
  [
    "restart failed for the fourth time: with back-off",
    { ...CONNECTED, failures: { checks: 0, calls: 3 } },
    answered("restart", failed),
    {
      effects: [],
      callAt: NOW + 4000,
    },
  ],
  [
    "restart failed past the deadline: again",
    { ...CONNECTED, timerStartedAt: NOW - 60_000 },
    answered("restart", failed),
    {
      effects: [],
      callAt: NOW + 500,
    },
  ],
  ["restart failed an hour past the deadline: given up", { ...CONNECTED, ...late }, answered("restart", failed), {
    end: "expired",
  }],
  ["restart limited an hour past the deadline: given up", { ...CONNECTED, ...late }, answered("restart", limited), {
    end: "expired",
  }],
  ["restart held back: again in a second, however late", { ...CONNECTED, ...late }, answered("restart", held), {
    effects: [],
    callAt: NOW + 1000,
  }],

  // Answers to a send
  ["send done: over", LEAVING, answered("send", done), { end: "sent" }],
  ["send of an event that is gone: over", LEAVING, answered("send", gone), { end: "gone" }],
  ["send of an event finished otherwise: over", LEAVING, answered("send", conflict), { end: "gone" }],
  ["send unauthorised: over", LEAVING, answered("send", unauthorised), { end: "refused" }],
  ["send forbidden: over", LEAVING, answered("send", forbidden), { end: "refused" }],
  ["send unsupported: over", LEAVING, answered("send", unsupported), { end: "refused" }],
  ["send limited: as the homeserver says", LEAVING, answered("send", limited), { effects: [], callAt: NOW + 964 }],
  ["send failed: soon again", LEAVING, answered("send", failed), { effects: [], callAt: NOW + 500 }],
  ["send failed past the deadline: again", { ...LEAVING, timerStartedAt: NOW - 60_000 }, answered("send", failed), {
    effects: [],
    callAt: NOW + 500,
  }],
  ["send failed an hour past the deadline: given up", { ...LEAVING, ...late }, answered("send", failed), {
    end: "expired",
  }],
  ["send held back: again in a second", LEAVING, answered("send", held), { effects: [], callAt: NOW + 1000 }],

  // Answers that come after the state has changed
  ["a send done after the participant came back: over", CONNECTED, answered("send", done), { end: "sent" }],
  ["a send found the event gone after the participant came back: over", CONNECTED, answered("send", gone), {
    end: "gone",
  }],
  ["a send failed after the participant came back: connected", CONNECTED, answered("send", failed), {
    effects: [],
    callAt: CONNECTED.callAt,
  }],
  ["a restart done after the participant left: the deadline has moved", LEAVING, answered("restart", done), {
    effects: [],
    state: "leaving",
    timerStartedAt: NOW - 400,
  }],
  ["a restart found the event gone after the participant left: over", LEAVING, answered("restart", gone), {
    end: "gone",
  }],
  ["a restart failed after the participant left: leaving", LEAVING, answered("restart", failed), {
    effects: [],
    callAt: LEAVING.callAt,
  }],
]);
