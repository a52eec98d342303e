import { hostileConnections } from "../../../testing/pressure/hostile_connections.ts";
import { testPressure } from "./withstands.ts";

testPressure(hostileConnections);
