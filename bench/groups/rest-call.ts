import { signFor } from '../c2c/link-terminal.ts';
import type { LinkApp } from '../support/chat-load.ts';

/** Calls a command of /v4 as the app's administrator. @throws Error when it is refused */
export async function callRest(
  { port, app }: { port: number; app: LinkApp },
  command: string,
  body: object,
): Promise<Record<string, unknown>> {
  const query = new URLSearchParams({
    sdkappid: String(app.sdkAppId),
    identifier: 'admin',
    usersig: signFor(app, 'admin'),
    random: '1',
    contenttype: 'json',
  });
  const response = await fetch(`http://127.0.0.1:${port}/v4/${command}?${query}`, {
    method: 'POST',
    body: JSON.stringify(body),
  });
  const answer = (await response.json()) as Record<string, unknown>;
  if (answer.ErrorCode !== 0) throw new Error(`${command}: ${answer.ErrorCode} ${answer.ErrorInfo}`);
  return answer;
}
