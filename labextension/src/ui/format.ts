/** Numbers for people; raynb/jupyter/inputs.py and progress/bar.py say them the same way. */

/** "1.5 MB": powers of 1000. */
export function bytes(size: number): string {
  for (const unit of ['B', 'KB', 'MB', 'GB']) {
    if (size < 1000) {
      return unit === 'B' || size >= 99.95 ? `${Math.round(size)} ${unit}` : `${size.toFixed(1)} ${unit}`;
    }
    size /= 1000;
  }
  return `${size.toFixed(1)} TB`;
}

const figure = (value: number) => (value < 9.95 ? value.toFixed(1) : String(Math.round(value)));

/** "840 µs", "2.4 ms", "240 ms", "4.2 s", "18 s", "2 min 5 s", "1 h 12 min". */
export function seconds(value: number): string {
  if (value <= 0) {
    return '0 s';
  }
  if (value < 0.0009995) {
    return `${Math.round(value * 1e6)} µs`;
  }
  if (value < 0.9995) {
    return `${figure(value * 1e3)} ms`;
  }
  const whole = Math.floor(value + 0.5);
  if (whole < 60) {
    return `${figure(value)} s`;
  }
  const minutes = Math.floor(whole / 60);
  if (minutes < 60) {
    return whole % 60 ? `${minutes} min ${whole % 60} s` : `${minutes} min`;
  }
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** "1,234". */
export function count(value: number): string {
  return Math.round(value).toLocaleString('en-US');
}

/** "1 task", "3 tasks". */
export function counted(value: number, one: string, many = `${one}s`): string {
  return `${count(value)} ${value === 1 ? one : many}`;
}

/** "1,200", "85", "3.1", "0": a rate. */
export function rate(value: number): string {
  return value >= 10 || value === 0 ? count(value) : value.toFixed(1);
}

/** "14:03:27": a time of day, of seconds since 1970. */
export function clock(wall: number): string {
  return new Date(wall * 1000).toLocaleTimeString('en-GB');
}

/** The last eight digits of an id: enough to tell two apart; the whole is in a tooltip. */
export function shortId(id: string): string {
  return id.length > 8 ? `…${id.slice(-8)}` : id;
}
