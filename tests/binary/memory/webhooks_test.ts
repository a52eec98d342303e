import { hostileWebhooks } from "../../../testing/pressure/hostile_webhooks.ts";
import { testPressure } from "./withstands.ts";

testPressure(hostileWebhooks);
