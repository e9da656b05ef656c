'use strict';

// Lets a test drive the Node client: one command per line on standard input, one answer per line on standard
// output, both JSON (see ../foreign_client.py). Arguments: the directory in which npm has installed the
// packages, the address of the NameServer, the group.

const { createRequire } = require('module');
const path = require('path');
const readline = require('readline');

const [ installed, nameSrv, group ] = process.argv.slice(2);
const requireInstalled = createRequire(path.join(installed, 'package.json'));
const httpclient = requireInstalled('urllib');
const { Consumer, Message, Producer } = requireInstalled('ali-ons');

const answers = process.stdout;
const logger = { debug() {}, info() {}, warn: console.error, error: console.error };
const received = [];
let producer;
let consumer;

async function send(messages) {
  if (!producer) {
    producer = new Producer({ httpclient, nameSrv, logger, producerGroup: group + '-producer' });
    producer.on('error', error => console.error(error));
    await producer.ready();
  }
  const results = [];
  for (const item of messages) {
    const message = new Message(item.topic, item.tags || null, Buffer.from(item.body, 'base64'));
    if (item.keys) message.keys = [ item.keys ];
    if (item.delayLevel) message.delayTimeLevel = item.delayLevel;
    const result = await producer.send(message);
    results.push({ sent: result.sendStatus === 'SEND_OK', msgId: result.msgId });
  }
  return { results };
}

async function subscribe(topic, expression) {
  consumer = new Consumer({
    httpclient, nameSrv, logger, consumerGroup: group, consumeFromWhere: 'CONSUME_FROM_FIRST_OFFSET',
  });
  consumer.on('error', error => console.error(error));
  consumer.subscribe(topic, expression, async message => {
    received.push({
      topic: message.topic,
      body: message.body.toString('base64'),
      tags: message.tags,
      keys: message.keys,
      msgId: message.msgId,
      reconsumeTimes: message.reconsumeTimes,
      bornTimestamp: Number(message.bornTimestamp),
      storeTimestamp: Number(message.storeTimestamp),
    });
    if (message.reconsumeTimes === 0 && message.body.toString().startsWith('fail once')) {
      return Consumer.ACTION_RETRY;
    }
  });
  await consumer.ready();
  return {};
}

async function awaitReceived(count, timeoutMs) {
  const deadline = Date.now() + timeoutMs;
  while (received.length < count && Date.now() < deadline) {
    await new Promise(resolve => setTimeout(resolve, 20));
  }
  return { messages: received };
}

function carryOut(command) {
  switch (command.do) {
    case 'send': return send(command.messages);
    case 'subscribe': return subscribe(command.topic, command.expression);
    case 'received': return awaitReceived(command.count, command.timeoutMs);
    default: throw new Error('no command ' + command.do);
  }
}

async function main() {
  for await (const line of readline.createInterface({ input: process.stdin })) {
    let answer;
    try {
      answer = { ok: true, ...await carryOut(JSON.parse(line)) };
    } catch (error) {
      answer = { ok: false, error: String(error && error.stack) };
    }
    answers.write(JSON.stringify(answer) + '\n');
  }
  if (consumer) await consumer.close();
  if (producer) await producer.close();
  process.exit(0);
}

main();
