import { hostileAnswers } from "../../../testing/pressure/hostile_answers.ts";
import { testPressure } from "./withstands.ts";

testPressure(hostileAnswers);
