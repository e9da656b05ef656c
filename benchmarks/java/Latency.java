import com.alibaba.fastjson.JSONObject;
import java.nio.ByteBuffer;
import java.util.Arrays;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.locks.LockSupport;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.common.message.Message;

/**
 * End-to-end latency at a fixed rate: from the time when a message was due to be sent until the listener has it. A sender
 * that is held up by the broker sends late, and that counts.
 */
final class Latency {
    private static final int THREADS = 8;
    private static final double WARM_UP_S = 1.5;
    private static final long END_TIMEOUT_S = 10;

    private final Sides.Side side;
    private final String topic;
    private final String group;
    private final long intervalNs;
    private final int warmUp;
    private final int count;
    private final byte[] padding;

    Latency(Sides.Side side, JSONObject command) {
        this.side = side;
        topic = command.getString("topic");
        group = command.getString("group");
        int rate = command.getIntValue("rate");
        intervalNs = 1_000_000_000L / rate;
        warmUp = (int) (WARM_UP_S * rate);
        count = warmUp + (int) (command.getDoubleValue("seconds") * rate);
        padding = new byte[command.getIntValue("size") - Integer.BYTES];
    }

    JSONObject run() throws Exception {
        long[] tookNs = new long[count];
        long[] startedAt = new long[1];
        CountDownLatch found = new CountDownLatch(1);
        CountDownLatch missing = new CountDownLatch(count);
        DefaultMQPushConsumer consumer = side.consumer(group);
        consumer.subscribe(topic, "*");
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            long now = System.nanoTime();
            messages.forEach(message -> {
                int number = ByteBuffer.wrap(message.getBody()).getInt();
                if (number < 0) {
                    found.countDown();
                } else if (tookNs[number] == 0) {
                    tookNs[number] = now - startedAt[0] - number * intervalNs;
                    missing.countDown();
                }
            });
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        consumer.start();
        while (!found.await(100, TimeUnit.MILLISECONDS)) {
            side.producer.send(message(-1));
        }
        AtomicLong failed = new AtomicLong();
        startedAt[0] = System.nanoTime() + 10_000_000;
        Thread[] senders = new Thread[THREADS];
        AtomicInteger next = new AtomicInteger();
        for (int place = 0; place < THREADS; place++) {
            senders[place] = new Thread(() -> sendInTime(next, startedAt[0], failed));
            senders[place].start();
        }
        for (Thread sender : senders) {
            sender.join();
        }
        missing.await(END_TIMEOUT_S, TimeUnit.SECONDS);
        consumer.shutdown();
        long[] sorted = Arrays.copyOfRange(tookNs, warmUp, count);
        Arrays.sort(sorted);
        return new JSONObject().fluentPut("messages", count).fluentPut("failed", missing.getCount() + failed.get())
            .fluentPut("p50", at(sorted, 0.5)).fluentPut("p99", at(sorted, 0.99)).fluentPut("p999", at(sorted, 0.999));
    }

    private void sendInTime(AtomicInteger next, long startedAt, AtomicLong failed) {
        int number;
        while ((number = next.getAndIncrement()) < count) {
            long due = startedAt + number * intervalNs;
            long early;
            while ((early = due - System.nanoTime()) > 0) {
                LockSupport.parkNanos(early);
            }
            try {
                side.producer.send(message(number));
            } catch (Exception error) {
                failed.incrementAndGet();
            }
        }
    }

    private Message message(int number) {
        byte[] body = ByteBuffer.allocate(Integer.BYTES + padding.length).putInt(number).put(padding).array();
        return new Message(topic, "TagA", body);
    }

    /** In milliseconds. */
    private static double at(long[] sorted, double share) {
        return sorted[Math.min(sorted.length - 1, (int) (sorted.length * share))] / 1e6;
    }
}
