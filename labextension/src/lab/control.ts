/**
 * Messages on the kernel's control channel. A running cell doesn't keep it, and it can be used before
 * the kernel has told what it supports, which a page that is reloaded meanwhile waits for.
 */

import type { Kernel } from '@jupyterlab/services';

interface Reply { content: { status: string; comms: Record<string, unknown> } }

/** Of messages that no other part of JupyterLab makes: enough to be unique on this page. */
const PAGE = Math.random().toString(16).slice(2);
let count = 0;

type Message = Parameters<Kernel.IKernelConnection['sendControlMessage']>[0];

function message(kernel: Kernel.IKernelConnection, type: string, content: object): Message {
  const header = {
    date: new Date().toISOString(), msg_id: `raynb-${PAGE}-${++count}`, msg_type: type, session: kernel.clientId,
    username: kernel.username, version: '5.3'
  };
  return { header, parent_header: {}, metadata: {}, content, channel: 'control', buffers: [] } as unknown as Message;
}

/** Sends to a comm of ours. */
export function sendToComm(kernel: Kernel.IKernelConnection, comm: string, data: object): void {
  kernel.sendControlMessage(message(kernel, 'comm_msg', { comm_id: comm, data }), false, true);
}

/** Returns the ids of the open comms of a target. */
export async function commsOf(kernel: Kernel.IKernelConnection, target: string): Promise<string[]> {
  const asked = kernel.sendControlMessage(message(kernel, 'comm_info_request', { target_name: target }), true, true);
  const reply = await asked.done as unknown as Reply;
  return reply.content.status === 'ok' ? Object.keys(reply.content.comms) : [];
}
