// Every answer of a homeserver, to a restart and to a send, in time and after the state has changed.

import { NO_FAILURES } from "../../../lib/leave/machine/job.ts";
import {
  answered,
  bare404,
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
  type Row,
  testRows,
  unauthorized,
  unsupported,
} from "./machine_table.ts";

const REFUSALS = [["unauthorized", unauthorized], ["forbidden", forbidden], ["unsupported", unsupported]] as const;
const FIRED = { ...LEAVING, timerStartedAt: NOW - LEAVING.delayMs };

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
  ...REFUSALS.map(([what, outcome]): Row => [`restart ${what}: soon again`, CONNECTED, answered("restart", outcome), {
    effects: [],
    state: "connected",
    callAt: NOW + 500,
    failures: { checks: 0, calls: 1 },
  }]),
  ...REFUSALS.map(([what, outcome]): Row => [
    `restart ${what} for the tenth time: again in half a minute at most`,
    { ...CONNECTED, delayMs: HOUR, failures: { checks: 0, calls: 9 } },
    answered("restart", outcome),
    { effects: [], callAt: NOW + 30_000 },
  ]),
  [
    "restart failed a second before the deadline: again with time for one more",
    {
      ...CONNECTED,
      timerStartedAt: NOW - 9000,
      failures: { checks: 0, calls: 3 },
    },
    answered("restart", failed),
    { effects: [], callAt: NOW + 500 },
  ],
  ...REFUSALS.map(([what, outcome]): Row => [
    `restart ${what} when the event must have fired: over`,
    { ...CONNECTED, timerStartedAt: NOW - CONNECTED.delayMs },
    answered("restart", outcome),
    { end: "refused" },
  ]),
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
  ["send forbidden, since the user is not in the room any more: over", LEAVING, answered("send", forbidden), {
    end: "refused",
  }],
  ["send unauthorized: soon again", LEAVING, answered("send", unauthorized), { effects: [], callAt: NOW + 500 }],
  ["send unsupported: soon again", LEAVING, answered("send", unsupported), { effects: [], callAt: NOW + 500 }],
  ["send unsupported when the event must have fired: over", FIRED, answered("send", unsupported), { end: "refused" }],
  ["send, 404 without errcode before the deadline: again", LEAVING, answered("send", bare404), {
    effects: [],
    callAt: NOW + 500,
  }],
  ["send, 404 without errcode after the deadline: over", FIRED, answered("send", bare404), { end: "gone" }],
  ["send, the 404 of a web page after the deadline: again", FIRED, answered("send", failed), {
    effects: [],
    callAt: NOW + 500,
  }],
  ["restart, 404 without errcode: again", CONNECTED, answered("restart", bare404), { effects: [], callAt: NOW + 500 }],
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
