"""Java examples of the documents, as they stand there, run with Apache's client against a cluster."""

from __future__ import annotations

import re
import subprocess
import textwrap
import time
from pathlib import Path

from rocketmq_tx.protocol.codes import RequestCode
from rocketmq_tx.protocol.headers import GetMaxOffsetRequestHeader, GetMaxOffsetResponseHeader
from rocketmq_tx.protocol.message import decode_record
from rocketmq_tx.protocol.properties import unpack_properties
from rocketmq_tx.protocol.property_names import TIMER_DELIVER_MS
from tests.clusters import ClusterTestCase
from tests.integration.fault_parts import Client
from tests.interop import toolchain
from tests.unit.test_docs import DOCUMENTS, PROJECT

STANDARD_ADDRESS = "127.0.0.1:9876"
PENDING = "rmq_sys_wheel_timer"
DELAY_MS = 36 * 3600 * 1000
RUN_TIMEOUT_S = 60

PROGRAM = """
import java.nio.charset.StandardCharsets;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import org.apache.rocketmq.client.consumer.*;
import org.apache.rocketmq.client.consumer.listener.*;
import org.apache.rocketmq.client.producer.*;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.*;

class Examples {
    static void sending() throws Exception {
        // README
    }

    static void filtering() throws Exception {
        DefaultMQPushConsumer consumer = new DefaultMQPushConsumer("filtering");
        consumer.setNamesrvAddr("127.0.0.1:9876");
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        // filters
        CountDownLatch wanted = new CountDownLatch(2);
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            for (MessageExt one : messages) {
                System.out.println("consumed " + new String(one.getBody(), StandardCharsets.UTF_8));
                wanted.countDown();
            }
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        DefaultMQProducer producer = started("orders");
        for (String order : "99 eu,250 eu,300 asia,101 us".split(",")) {
            Message message = new Message("Orders", order.getBytes(StandardCharsets.UTF_8));
            message.putUserProperty("amount", order.split(" ")[0]);
            message.putUserProperty("region", order.split(" ")[1]);
            producer.send(message);
        }
        consumer.start();
        wanted.await(30, TimeUnit.SECONDS);
        consumer.shutdown();
        producer.shutdown();
    }

    static void sendingForLater() throws Exception {
        Message message = new Message("Later", "in a day and a half".getBytes(StandardCharsets.UTF_8));
        // timers
        DefaultMQProducer producer = started("later");
        System.out.println("later " + producer.send(message).getSendStatus());
        producer.shutdown();
    }

    static DefaultMQProducer started(String group) throws Exception {
        DefaultMQProducer producer = new DefaultMQProducer(group);
        producer.setNamesrvAddr("127.0.0.1:9876");
        producer.start();
        return producer;
    }

    public static void main(String[] arguments) throws Exception {
        sending();
        filtering();
        sendingForLater();
        System.exit(0);
    }
}
"""

PLACES = {"README": "README.md", "filters": "docs/filters.md", "timers": "docs/timers.md"}
"""Where the one Java example of each of these documents goes in the program."""


def java_examples(document: Path) -> list[str]:
    """The fenced Java blocks of a document, in order."""
    return re.findall(r"^```java\n(.*?)^```", document.read_text("utf-8"), re.S | re.M)


class JavaExampleTests(ClusterTestCase):
    """One JVM for all of them."""

    def setUp(self) -> None:
        toolchain.require_java()

    def test_every_java_example_has_its_place_in_the_program(self) -> None:
        found = {str(document.relative_to(PROJECT)): len(java_examples(document)) for document in DOCUMENTS}
        self.assertEqual(dict.fromkeys(PLACES.values(), 1), {k: n for k, n in found.items() if n})

    def test_they_do_what_the_documents_say(self) -> None:
        cluster = self.own_cluster(settings={"enablePropertyFilter": "true"})
        before_ms = int(time.time() * 1000)
        output = self.run_program(cluster.namesrv_address)
        self.assertIn("SendResult [sendStatus=SEND_OK", output)
        consumed = re.findall(r"^consumed (.*)$", output, re.M)
        self.assertEqual(sorted(consumed), ["101 us", "250 eu"])
        self.assertIn("later SEND_OK", output)
        with Client(cluster.broker().port) as client:
            header = GetMaxOffsetRequestHeader(topic=PENDING, queue_id=0)
            answer = client.ask(RequestCode.GET_MAX_OFFSET, header)
            self.assertEqual(GetMaxOffsetResponseHeader.from_ext_fields(answer.ext_fields).offset, 1)
            pending = decode_record(client.pull(0, PENDING, 0).body)
        due_ms = int(unpack_properties(pending.properties)[TIMER_DELIVER_MS])
        self.assertGreaterEqual(due_ms, before_ms + DELAY_MS)
        self.assertLessEqual(due_ms, int(time.time() * 1000) + DELAY_MS)

    def run_program(self, namesrv_address: str) -> str:
        """What it prints; `java` compiles a single file by itself."""
        program = PROGRAM
        for place, name in PLACES.items():
            (example,) = java_examples(PROJECT / name)
            program = program.replace(f"        // {place}\n", textwrap.indent(example, " " * 8))
        self.assertIn(STANDARD_ADDRESS, java_examples(PROJECT / "README.md")[0])
        file = Path(self.mktemp()).resolve().with_suffix(".java")
        file.write_text(program.replace(STANDARD_ADDRESS, namesrv_address), "utf-8")
        done = subprocess.run(
            [
                "java", "-XX:TieredStopAtLevel=1", f"-Duser.home={file.parent}", "-cp",
                toolchain.client_class_path(), str(file),
            ],
            capture_output=True, text=True, timeout=RUN_TIMEOUT_S, check=False,
        )  # fmt: skip
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return done.stdout
