import { hostileCaches } from "../../../testing/pressure/hostile_caches.ts";
import { testPressure } from "./withstands.ts";

testPressure(hostileCaches);
