/** APNs, a process of its own: one that is fast, and one whose connections can fall silent. Says what devices show. */
import { writeFile } from 'node:fs/promises';
import { type ApnsSandbox, openApnsSandbox } from '../../src/push/sandbox/apns.ts';
import { createCertificate } from '../../src/push/sandbox/certificate.ts';
import { parentOptions, serveParent } from '../../test/support/measured-process.ts';
import { pushOf, topic } from './pushes.ts';

export interface ServiceOptions {
  /** Where the certificate of who vouches for it goes. */
  caFile: string;
  canSilence: boolean;
}

export interface ServiceStarted {
  url: string;
  port: number;
  credentials: { key: string; keyId: string; teamId: string };
}

export type ServiceQuestion =
  | { do: 'figures' }
  | { do: 'hold' | 'let-go' | 'silence' }
  | { do: 'goaway'; answered: number }
  /** How often the devices from `first` on show their push: never, once, more often. */
  | { do: 'shown'; first: number; count: number };

export interface ServiceAnswer {
  inFlight: number;
  violations: number;
  never: number;
  once: number;
  twice: number;
}

const { caFile, canSilence } = parentOptions<ServiceOptions>();
const tls = createCertificate('apns');
await writeFile(caFile, tls.cert);
const apns: ApnsSandbox = await openApnsSandbox({
  tls,
  topics: [topic],
  canSilence,
  maxArrivals: 100,
  maxDevices: 100_000,
});

function act(question: ServiceQuestion): void {
  if (question.do === 'hold') apns.hold();
  else if (question.do === 'let-go') apns.letGo();
  else if (question.do === 'silence') apns.silence();
  else if (question.do === 'goaway') apns.goaway(question.answered, { reason: 'Shutdown' });
}

serveParent(
  { url: apns.url, port: apns.port, credentials: apns.credentials } satisfies ServiceStarted,
  async (asked) => {
    const question = asked as ServiceQuestion;
    act(question);
    const answer = { inFlight: apns.inFlight, violations: apns.violations, never: 0, once: 0, twice: 0 };
    if (question.do === 'shown') {
      for (let device = question.first; device < question.first + question.count; device += 1) {
        const times = apns.shown(pushOf(device).token).reduce((sum, one) => sum + one.times, 0);
        if (times === 0) answer.never += 1;
        else if (times === 1) answer.once += 1;
        else answer.twice += 1;
      }
    }
    return answer satisfies ServiceAnswer;
  },
);
