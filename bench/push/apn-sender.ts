/** node-apn as its manual has it, a process of its own. */
import { readFile } from 'node:fs/promises';
import apn from 'node-apn';
import { parentOptions } from '../../test/support/measured-process.ts';
import { pushOf, topic } from './pushes.ts';
import { type SenderOptions, serveSender } from './sender.ts';

const { port, credentials, caFile } = parentOptions<SenderOptions>();
const provider = new apn.Provider({
  token: credentials,
  ca: [await readFile(caFile)],
  address: `127.0.0.1:${port}`,
  port,
});

serveSender(async (device) => {
  const { token, collapseId, payload } = pushOf(device);
  const note = new apn.Notification();
  note.topic = topic;
  note.pushType = 'alert';
  note.priority = 10;
  note.collapseId = collapseId;
  note.rawPayload = payload;
  const { failed } = await provider.send(note, token);
  const [first] = failed;
  if (first === undefined) return { ok: true };
  return { ok: false, reason: first.response?.reason ?? first.error?.message ?? String(first.status) };
});
