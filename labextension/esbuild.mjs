// Builds the widget's bundle (one module and one stylesheet, nothing loaded from elsewhere).
// With --tests: bundles the unit tests for node's own test runner.
import { build } from 'esbuild';
import { readdirSync, rmSync } from 'node:fs';

const common = {
  bundle: true,
  format: 'esm',
  target: 'es2020',
  jsx: 'automatic',
  jsxImportSource: 'preact',
  logLevel: 'warning'
};

if (process.argv.includes('--tests')) {
  rmSync('.test', { recursive: true, force: true });
  const tests = ['src/ui', 'src/lab'].flatMap(folder =>
    readdirSync(folder).filter(name => name.endsWith('.test.ts')).map(name => `${folder}/${name}`)
  );
  await build({
    ...common,
    entryPoints: tests,
    outdir: '.test',
    outExtension: { '.js': '.mjs' },
    platform: 'node',
    external: ['node:*']
  });
} else {
  const out = '../raynb/jupyter/static';
  await build({ ...common, entryPoints: ['src/widget.tsx'], outfile: `${out}/widget.js`, minify: true });
  await build({ ...common, entryPoints: ['style/ui.css'], outfile: `${out}/widget.css`, minify: true });
}
