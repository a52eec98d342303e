import { jobsInRedis } from "../../../testing/pressure/hostile_jobs.ts";
import { testPressure } from "./withstands.ts";

testPressure(jobsInRedis);
