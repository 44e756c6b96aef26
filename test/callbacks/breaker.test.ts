import fc from 'fast-check';
import t from 'tap';
import { type BreakerOptions, createBreaker } from '../../src/callbacks/breaker.ts';

const usual = { failures: 5, probeEveryMs: 1_000 };

function opened(nowMs: number, options: BreakerOptions = usual) {
  const breaker = createBreaker(options);
  for (let i = 0; i < options.failures; i += 1) breaker.failed(nowMs);
  return breaker;
}

t.test('[K7] five failures in a row open it, and a success in between begins anew', async (t) => {
  const breaker = createBreaker(usual);
  for (let i = 0; i < 4; i += 1) breaker.failed(i);
  breaker.succeeded();
  for (let i = 0; i < 4; i += 1) {
    breaker.failed(10 + i);
    t.equal(breaker.state, 'closed');
    t.equal(breaker.admit(10 + i), 'go');
    t.equal(breaker.nextProbeMs, undefined);
  }
  breaker.failed(20);
  t.equal(breaker.state, 'open');
  t.equal(breaker.nextProbeMs, 1_020);
  t.equal(breaker.admit(20), 'no');
  t.equal(breaker.admit(1_019.9), 'no');
});

t.test('[K7] open, one call a second goes as probe; its success closes, its failure does not', async (t) => {
  const breaker = opened(0);
  t.equal(breaker.admit(1_000), 'probe');
  t.equal(breaker.state, 'half-open');
  t.equal(breaker.admit(1_000), 'no');
  breaker.failed(1_200, 1_000);
  t.equal(breaker.state, 'open');
  t.equal(breaker.admit(1_999), 'no');
  t.equal(breaker.admit(2_000), 'probe');
  breaker.succeeded();
  t.equal(breaker.state, 'closed');
  t.equal(breaker.admit(2_001), 'go');
  // It takes five again.
  for (let i = 0; i < 4; i += 1) breaker.failed(2_002);
  t.equal(breaker.state, 'closed');
  breaker.failed(2_002);
  t.equal(breaker.state, 'open');
});

t.test('[K7] a probe of which nobody tells holds the next one back for a time, not for ever', async (t) => {
  const breaker = opened(0, { ...usual, probeForMs: 5_000 });
  t.equal(breaker.admit(1_000), 'probe');
  t.equal(breaker.nextProbeMs, 6_000);
  t.equal(breaker.admit(5_999), 'no');
  t.equal(breaker.admit(6_000), 'probe');
  breaker.failed(6_001, 6_000);
  t.equal(breaker.nextProbeMs, 7_000, 'one that has failed holds nothing back');
});

t.test('[K7] what was sent before the endpoint died and fails after it has come back opens nothing', async (t) => {
  const breaker = createBreaker(usual);
  for (let i = 0; i < 1_000; i += 1) breaker.admit(i);
  for (let i = 0; i < 5; i += 1) breaker.failed(2_000 + i, i);
  t.equal(breaker.state, 'open');
  t.equal(breaker.admit(3_004), 'probe');
  breaker.failed(3_005, 5);
  t.equal(breaker.state, 'half-open', 'nor does it end the probe');
  breaker.succeeded();
  for (let i = 6; i < 1_000; i += 1) breaker.failed(3_010 + i, i);
  t.equal(breaker.state, 'closed');
});

t.test('[K7] never opens where so many failures never come', async (t) => {
  const breaker = createBreaker({ ...usual, failures: Number.POSITIVE_INFINITY });
  for (let i = 0; i < 1_000; i += 1) breaker.failed(i);
  t.equal(breaker.state, 'closed');
});

/** What happens to a breaker: time passes, a call asks to go, a call that is out ends or is forgotten. */
const step = fc.oneof(
  fc.record({ do: fc.constant('wait' as const), ms: fc.oneof(fc.nat(300), fc.nat(3_000)) }),
  fc.record({ do: fc.constant('call' as const) }),
  fc.record({ do: fc.constantFrom('succeed' as const, 'fail' as const, 'forget' as const), which: fc.nat() }),
);

t.test('[K7] whatever comes in whatever order: the rules hold', async (t) => {
  const options = fc.record({
    failures: fc.integer({ min: 1, max: 6 }),
    probeEveryMs: fc.integer({ min: 1, max: 1_500 }),
    probeForMs: fc.integer({ min: 0, max: 4_000 }),
  });
  const property = fc.property(options, fc.array(step, { maxLength: 200 }), (options, steps) => {
    const breaker = createBreaker(options);
    const out: number[] = [];
    let now = 0;
    /** As a reader of the rules would count: in a row, of calls sent since the breaker last opened or let a probe through. */
    let failures = 0;
    let lastProbe = Number.NEGATIVE_INFINITY;
    let openedMs: number | undefined;
    let turned = Number.NEGATIVE_INFINITY;
    for (const step of steps) {
      const before = breaker.state;
      if (step.do === 'wait') now += step.ms;
      else if (step.do === 'call') {
        const admission = breaker.admit(now);
        if (before === 'closed' && admission !== 'go') return false;
        if (before !== 'closed' && admission === 'go') return false;
        if (admission === 'no' && now >= (breaker.nextProbeMs ?? 0)) return false;
        // Nothing holds back longer than it may.
        const last = Math.max(openedMs ?? 0, lastProbe);
        if (admission === 'no' && now >= last + Math.max(options.probeEveryMs, options.probeForMs)) return false;
        if (admission === 'probe') {
          if (breaker.state !== 'half-open' || openedMs === undefined) return false;
          if (now < Math.max(lastProbe, openedMs) + options.probeEveryMs) return false;
          lastProbe = now;
          turned = now;
        }
        if (admission !== 'no') out.push(now);
      } else if (out.length > 0) {
        const [sentMs = 0] = out.splice(step.which % out.length, 1);
        if (step.do === 'succeed') {
          breaker.succeeded();
          failures = 0;
          openedMs = undefined;
          if (breaker.state !== 'closed') return false;
        } else if (step.do === 'fail') {
          breaker.failed(now, sentMs);
          if (before === 'closed') {
            if (sentMs >= turned) failures += 1;
            const opens = failures >= options.failures;
            if (breaker.state !== (opens ? 'open' : 'closed')) return false;
            if (opens) {
              failures = 0;
              openedMs = now;
              turned = now;
            }
          }
          // No failure closes it, none but the latest probe's ends a probe.
          if (before !== 'closed' && breaker.state === 'closed') return false;
          if (before === 'half-open' && breaker.state === 'open' && sentMs < lastProbe) return false;
        }
      }
      if ((breaker.state === 'closed') !== (breaker.nextProbeMs === undefined)) return false;
    }
    return true;
  });
  t.doesNotThrow(() => fc.assert(property, { numRuns: 3_000 }));
});
