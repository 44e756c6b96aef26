import type { Endpoint } from '../endpoint/endpoint.ts';
import type { PreparedPost } from '../endpoint/poster.ts';

/**
 * A command line for a POSIX shell that sends the same POST to the byte. curl takes no settings of its user, follows no redirect, and
 * reads nothing as a pattern or the name of a file. Pure.
 */
export function curlLine(
  { url, fields, body }: PreparedPost,
  {
    caFile,
    clientCertFile,
    clientKeyFile,
  }: Partial<Pick<Endpoint, 'caFile' | 'clientCertFile' | 'clientKeyFile'>> = {},
  maxSec = 5,
): string {
  const files = { '--cacert': caFile, '--cert': clientCertFile, '--key': clientKeyFile };
  const words = [
    // First, or ~/.curlrc is read all the same.
    ...[
      'curl',
      '-q',
      '-sS',
      '-i',
      '--http1.1',
      '--globoff',
      '--path-as-is',
      '--noproxy',
      '*',
      '--max-time',
      String(maxSec),
    ],
    ...Object.entries(files).flatMap(([option, file]) => (file === undefined ? [] : [option, file])),
    ...['-X', 'POST', url],
    ...Object.entries(fields).flatMap(([name, value]) => ['-H', value === '' ? `${name};` : `${name}: ${value}`]),
    // Not --data: that reads a file when the text begins with @.
    ...['--data-raw', body],
  ];
  return words.map(shellQuoted).join(' ');
}

/** One word for any POSIX shell, whatever stands in it but U+0000, which no argument can hold. Pure. */
export function shellQuoted(text: string): string {
  return /^[A-Za-z0-9_./:@%+,=-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}
