import { formatSpread, type Spread, spreadOf } from '../support/spread.ts';
import { dependencyVersion } from '../support/stage.ts';
import { atOnce, type EntrantKind, entrantKinds, type Loss, type Sample } from './contest.ts';

export interface PushResults {
  readonly quick: boolean;
  readonly rounds: number;
  readonly count: number;
  /** In the order of the rounds. */
  readonly samples: Readonly<Record<EntrantKind, readonly Sample[]>>;
  readonly losses: readonly { readonly title: string; readonly of: Readonly<Record<EntrantKind, readonly Loss[]>> }[];
}

/** Of node-apn's sends a second, at least. */
const accepted = 0.8;

export function reportPush({ quick, rounds, count, samples, losses }: PushResults): string {
  const names: Record<EntrantKind, string> = { apn: `node-apn ${dependencyVersion('node-apn')}`, our: 'qalgate' };
  const ratio = (kind: EntrantKind, figure: (sample: Sample) => number): Spread =>
    spreadOf(samples[kind].map((sample, round) => figure(sample) / figure(samples.apn[round] as Sample)));
  const perSec = ({ perSec }: Sample): number => perSec;
  const cpu = ({ cpuMicros }: Sample): number => cpuMicros;
  return [
    '## push: what does a push over APNs cost, and what gets lost?',
    '',
    `${count} pushes a round over one connection, ${atOnce} at once: median of ${rounds} rounds (lowest–highest), after a warm-up`,
    `round. The ratios are to ${names.apn} (the maintained line, @parse/node-apn), of the same round.`,
    ...(quick ? ['**Quick run: shows that it works, not how fast.**'] : []),
    '',
    '| | sends/s | ratio | CPU µs a send | ratio |',
    '|---|---|---|---|---|',
    ...entrantKinds.map((kind) => {
      const cells = [
        formatSpread(spreadOf(samples[kind].map(perSec)), 0),
        formatSpread(ratio(kind, perSec), 2),
        formatSpread(spreadOf(samples[kind].map(cpu)), 1),
        formatSpread(ratio(kind, cpu), 2),
      ];
      return `| ${names[kind]} | ${cells.join(' | ')} |`;
    }),
    '',
    `### What is lost: of ${atOnce} pushes around a fault, and of ${atOnce} after them`,
    '',
    '| fault | | shown once | shown twice, in one place | never shown | never shown, of those after | seconds |',
    '|---|---|---|---|---|---|---|',
    ...losses.flatMap(({ title, of }) =>
      entrantKinds.map((kind) => {
        const range = (figure: (loss: Loss) => number, digits = 0): string => {
          const { min, max } = spreadOf(of[kind].map(figure));
          return min === max ? min.toFixed(digits) : `${min.toFixed(digits)}–${max.toFixed(digits)}`;
        };
        const cells = [
          range(({ once }) => once),
          range(({ twice }) => twice),
          range(({ never }) => never),
          range(({ afterNever }) => afterNever),
          range(({ tookMs }) => tookMs / 1_000, 1),
        ];
        return `| ${title} | ${names[kind]} | ${cells.join(' | ')} |`;
      }),
    ),
    '',
    ...(quick
      ? ['No verdict from a quick run.']
      : verdict(
          ratio('our', perSec).median,
          losses.flatMap(({ of }) => of.our),
        )),
    '',
    'How it was measured:',
    '',
    '- APNs is ours for trying out (`qalgate push sandbox`), a process of its own whose CPU is not counted, one for each: HTTP/2 over',
    '  TLS, provider tokens checked, up to 512 streams. Each round is checked: every device shows its push once.',
    '- Both send the same payload, which is put into JSON for each push, with the same headers (node-apn adds none, ours neither).',
    '- node-apn as its manual has it: one provider with a token key, one object a notification, `send`.',
    '- qalgate: the client alone, as in the program, with its gate, deadlines, watch over the connection, metrics; provider token from',
    '  the database. The queue is not in it.',
    '- The first on a new connection: APNs lets one stream through until the first good answer, and refuses more.',
    '- GOAWAY: all are in flight; APNs names half of them as its last, answers those, and never looks at the others.',
    '- Silence: the connection, just used, gets nothing through any more in either direction, and is not closed; then the pushes are',
    '  sent. What is opened later works.',
    '- What a client says is to be sent again is sent again, after at most a second here. node-apn says so of nothing: it fails what it',
    '  does not know to be done, without saying whether APNs has looked at it.',
  ].join('\n');
}

function verdict(ratio: number, losses: readonly Loss[]): string[] {
  const lost = losses.reduce((sum, { never, afterNever }) => sum + never + afterNever, 0);
  return [
    `Aims: at least ${accepted} of node-apn's sends/s: ${ratio.toFixed(2)} (${ratio >= accepted ? 'met' : 'NOT met'}); nothing lost: ${lost} lost (${lost === 0 ? 'met' : 'NOT met'}).`,
  ];
}
