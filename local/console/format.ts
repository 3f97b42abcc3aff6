const clock = new Intl.DateTimeFormat(undefined, {
  hour: '2-digit',
  minute: '2-digit',
  second: '2-digit',
  hour12: false,
});
const clockAndDay = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeStyle: 'medium', hour12: false });
const clockToTheMinute = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit', hourCycle: 'h23' });
const decimal = new Intl.NumberFormat(undefined, { maximumFractionDigits: 1 });

export function nowSeconds(): number {
  return Date.now() / 1000;
}

/** The local time of day; with the date when that is not today. */
export function timeOf(epochSeconds: number): string {
  const date = new Date(epochSeconds * 1000);
  const today = date.toDateString() === new Date().toDateString();
  return (today ? clock : clockAndDay).format(date);
}

/** `9:41`, or `1:09:41` from an hour on. */
export function countdown(seconds: number): string {
  const whole = Math.max(0, Math.ceil(seconds));
  const parts = [Math.floor(whole / 60) % 60, whole % 60];
  if (whole >= 3600) parts.unshift(Math.floor(whole / 3600));
  return parts.map((part, i) => (i === 0 ? `${part}` : `${part}`.padStart(2, '0'))).join(':');
}

/** One rough unit, as people say it: `12 s`, `9 min`, `3 h`. */
export function roughly(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.round(whole / 60)} min`;
  return `${Math.round(whole / 3600)} h`;
}

/** The local time of day, to the minute. */
export function minuteOf(epochSeconds: number): string {
  return clockToTheMinute.format(new Date(epochSeconds * 1000));
}

/** A number for people, with at most one decimal. */
export function number(value: number): string {
  return decimal.format(value);
}

/** `1 session`, `2 sessions`. */
export function quantity(count: number, noun: string): string {
  return `${number(count)} ${noun}${count === 1 ? '' : 's'}`;
}
