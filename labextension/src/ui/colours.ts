/**
 * Colours of functions: eight that colour-blind people tell apart (after Okabe and Ito), by the order in
 * which the functions were first seen, so that a function keeps its colour.
 */

export interface Colour { fill: string; text: string }

export const FUNCTION_COLOURS: readonly Colour[] = [
  { fill: '#1f77b4', text: '#fff' }, { fill: '#e69f00', text: '#1a1300' }, { fill: '#009e73', text: '#fff' },
  { fill: '#cc79a7', text: '#1f0d17' }, { fill: '#56b4e9', text: '#06202e' }, { fill: '#7a5fb5', text: '#fff' },
  { fill: '#b8a400', text: '#1c1900' }, { fill: '#8c564b', text: '#fff' }
];

export function functionColour(numbers: ReadonlyMap<string, number>, name: string): Colour {
  return FUNCTION_COLOURS[(numbers.get(name) ?? 0) % FUNCTION_COLOURS.length];
}
