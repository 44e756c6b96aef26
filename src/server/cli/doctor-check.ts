/** One thing looked at. The remedy is left out where the detail says what to do. */
export interface Check {
  name: string;
  state: 'ok' | 'warn' | 'fail';
  detail: string;
  remedy?: string;
}
