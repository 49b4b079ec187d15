/** Rows as text that other programs read. The texts are pure; saving and copying are the browser's. */

import { Key } from './sorting';

export interface Exported<R> { title: string; value: (row: R) => Key }

const quoted = (value: Key, between: string) => {
  const text = typeof value === 'number' && value !== value ? '' : String(value);
  return text.includes(between) || /["\n\r]/.test(text) ? `"${text.replace(/"/g, '""')}"` : text;
};

/** The rows as CSV (RFC 4180), or with tabs for a spreadsheet's clipboard. */
export function csv<R>(columns: Exported<R>[], rows: readonly R[], between = ','): string {
  const lines = [columns.map(column => quoted(column.title, between))];
  for (const row of rows) {
    lines.push(columns.map(column => quoted(column.value(row), between)));
  }
  return lines.map(line => line.join(between)).join('\r\n') + '\r\n';
}

/** The rows as a JSON list of objects. */
export function json<R>(columns: Exported<R>[], rows: readonly R[]): string {
  return JSON.stringify(
    rows.map(row => Object.fromEntries(columns.map(column => [column.title.toLowerCase(), column.value(row)]))), null, 1
  );
}

/** Saves a text as a file of the person's. */
export function download(name: string, text: string): void {
  const link = document.createElement('a');
  link.href = URL.createObjectURL(new Blob([text], { type: 'text/plain' }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

/** Puts a text on the clipboard. */
export function copy(text: string): void {
  if (navigator.clipboard) {
    void navigator.clipboard.writeText(text);
    return;
  }
  // A page that came by plain HTTP has no clipboard; what is selected can be copied.
  const before = document.activeElement;
  const area = document.createElement('textarea');
  area.value = text;
  document.body.append(area);
  area.select();
  document.execCommand('copy');
  area.remove();
  if (before instanceof HTMLElement) {
    before.focus({ preventScroll: true }); // the keyboard goes on where it was
  }
}
