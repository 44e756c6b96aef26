import { describeRefusal, type ImRefusal } from '../../wire/index.ts';
import { errorCode, type ServiceName, services } from './service-table.ts';

/** Fields of an answer besides those of the envelope. */
export type Fields = Readonly<Record<string, unknown>>;

/** What became of a command. A refusal may carry fields, too: which of many receivers failed. */
export type CommandResult =
  | { ok: true; answer: Fields; status?: 'OK' | 'SomeError' }
  | (ImRefusal & { answer?: Fields });

/** The object that every `/v4` answer is (API reference §1.2). */
export function envelope(service: ServiceName | undefined, result: CommandResult): Fields {
  const head = result.ok
    ? { ActionStatus: result.status ?? 'OK', ErrorCode: 0, ErrorInfo: '' }
    : {
        ActionStatus: 'FAIL',
        ErrorCode: result.code ?? errorCode(service, result.error),
        ErrorInfo: describeRefusal(result),
      };
  const display = service !== undefined && services[service].hasErrorDisplay ? { ErrorDisplay: '' } : {};
  return { ...head, ...display, ...result.answer };
}
