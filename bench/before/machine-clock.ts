/** `performance.now()` counts from the start of its process; with this added, all processes of the machine tell the same time. */
export const machineClockOffsetMs = Number(process.hrtime.bigint()) / 1e6 - performance.now();
