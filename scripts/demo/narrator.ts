/** What the demonstration prints: steps, explanations, commands and what came of them. Colours on a terminal only. */

import { styleText } from 'node:util';

type Style = Parameters<typeof styleText>[0];

// `styleText` itself looks at NO_COLOR and at whether the stream is a terminal.
const styled = (style: Style, text: string): string => styleText(style, text, { stream: process.stdout });

const indent = '   ';
let steps = 0;

function say(text = ''): void {
  process.stdout.write(`${text}\n`);
}

function block(text: string, style?: Style): void {
  for (const line of text.trimEnd().split('\n')) {
    say(line === '' ? '' : `${indent}${style === undefined ? line : styled(style, line)}`);
  }
}

export function title(text: string): void {
  say(styled('bold', text));
}

export function step(text: string): void {
  steps += 1;
  say();
  say(styled('bold', `${steps}. ${text}`));
}

export function explain(text: string): void {
  block(text);
}

/** A command that the reader could type. */
export function command(text: string): void {
  say(`${indent}${styled('cyan', `$ ${text}`)}`);
}

export function output(text: string): void {
  block(text, 'dim');
}

export function done(text: string): void {
  say(`${indent}${styled('green', '✓')} ${text}`);
}

export function refused(text: string): void {
  say(`${indent}${styled('red', '✗')} ${text}`);
}

export function farewell(text: string): void {
  say();
  say(text);
}
