/** An announcer for what is not about intents: it takes everything, and puts nothing on record. */

import type { Announcer } from '../../src/store/turns.ts';

export const silentAnnouncer: Announcer = { announce: async () => 'an intent', settled() {} };
