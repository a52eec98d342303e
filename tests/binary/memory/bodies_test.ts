import { hostileBodies } from "../../../testing/pressure/hostile_bodies.ts";
import { testPressure } from "./withstands.ts";

testPressure(hostileBodies);
