/** Numbers as people read them. */

/** "1.5 MB": three digits, powers of 1000, as the kernel says it. */
export function bytes(size: number): string {
  for (const unit of ['B', 'KB', 'MB', 'GB']) {
    if (size < 1000) {
      return unit === 'B' || size >= 99.95 ? `${Math.round(size)} ${unit}` : `${size.toFixed(1)} ${unit}`;
    }
    size /= 1000;
  }
  return `${size.toFixed(1)} TB`;
}

/** "840 µs", "12.3 ms", "4.20 s", "3 min 05 s", "2 h 10 min". */
export function seconds(value: number): string {
  if (value < 0.001) {
    return `${Math.round(value * 1e6)} µs`;
  }
  if (value < 1) {
    return `${(value * 1e3).toFixed(value < 0.1 ? 1 : 0)} ms`;
  }
  if (value < 60) {
    return `${value.toFixed(value < 10 ? 2 : 1)} s`;
  }
  const whole = Math.round(value);
  const pad = (n: number) => String(n).padStart(2, '0');
  if (whole < 3600) {
    return `${Math.floor(whole / 60)} min ${pad(whole % 60)} s`;
  }
  return `${Math.floor(whole / 3600)} h ${pad(Math.floor((whole % 3600) / 60))} min`;
}

/** "1,234". */
export function count(value: number): string {
  return Math.round(value).toLocaleString('en-US');
}

/** "1 task", "3 tasks". */
export function counted(value: number, one: string, many = `${one}s`): string {
  return `${count(value)} ${value === 1 ? one : many}`;
}

/** "740", "1.2k", "13k": a rate for a small place. */
export function rate(value: number): string {
  if (value >= 9950) {
    return `${Math.round(value / 1000)}k`;
  }
  if (value >= 1000) {
    return `${(value / 1000).toFixed(1)}k`;
  }
  return value >= 10 || value === 0 ? String(Math.round(value)) : value.toFixed(1);
}
