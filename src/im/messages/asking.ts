import type { Metrics } from '../../observe/index.ts';

/** Messages about which the app's backend is asked: each once, however often it is sent meanwhile (M13). */
export interface Asking<Answer> {
  /**
   * Asks about the message of that key, or waits for the answer when it is asked about already, and goes on with the answer. Until
   * all who wait for it have gone on, to the commit or a refusal, nobody asks again. Whatever fails is everybody's failure, and
   * nothing is left of it.
   */
  once<Result>(key: string, ask: () => Promise<Answer>, goOn: (answer: Answer) => Promise<Result>): Promise<Result>;
}

/**
 * Keeps what is being asked in the memory of this process: elsewhere a repeat at the same moment is asked about, too, and the
 * commit stores one of them. Beyond `max` each asks for itself.
 */
export function createAsking<Answer>(
  { metrics }: { metrics: Pick<Metrics, 'gaugeOf'> },
  { max = 20_000, what = 'messages' }: { max?: number; what?: 'messages' | 'group_messages' } = {},
): Asking<Answer> {
  const questions = new Map<string, { readonly answer: Promise<Answer>; users: number }>();
  metrics.gaugeOf(`qalgate_im_${what}_asking`, 'Messages about which backends are being asked', () => questions.size);

  return {
    async once(key, ask, goOn) {
      let question = questions.get(key);
      if (question === undefined) {
        const answer = ask();
        if (questions.size >= max) return goOn(await answer);
        question = { answer, users: 0 };
        questions.set(key, question);
      }
      question.users += 1;
      try {
        return await goOn(await question.answer);
      } finally {
        question.users -= 1;
        if (question.users === 0) questions.delete(key);
      }
    },
  };
}
