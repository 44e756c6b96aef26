/** One of several processes that use a directory at the same time; ends with 1 when it reads what nobody wrote. */
import { directoryStorage } from '../../src/sdk/node/index.ts';

const [folder = '', name = ''] = process.argv.slice(2);
const storage = directoryStorage(folder, { maxBytes: 100_000 });
for (let i = 0; i < 300; i += 1) {
  const key = `cache/${i % 7}`;
  await storage.set(key, new TextEncoder().encode(name.repeat(1_000 * (1 + (i % 30)))));
  const value = await storage.get(key);
  if (value !== undefined && !/^(?:a+|b+)$/.test(new TextDecoder().decode(value))) process.exit(1);
  if (i % 50 === 0) await storage.delete(key);
}
await storage.close();
process.exit(0);
