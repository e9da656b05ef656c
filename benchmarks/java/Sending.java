import com.alibaba.fastjson.JSONObject;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.Semaphore;
import java.util.concurrent.atomic.AtomicLong;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendCallback;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageQueue;

/** Sends as fast as it goes for "seconds", by "threads" threads, in one "mode"; counts what was stored. */
final class Sending {
    private static final int BATCH = 32;
    private static final int ASYNC_IN_FLIGHT = 256;
    private static final long STORED_TIMEOUT_NS = 10_000_000_000L;

    private final Sides.Side side;
    private final DefaultMQProducer producer;
    private final String mode;
    private final String topic;
    private final int threads;
    private final long runNs;
    private final byte[] body;
    private final AtomicLong stored = new AtomicLong();
    private final AtomicLong failed = new AtomicLong();
    private final Semaphore free = new Semaphore(ASYNC_IN_FLIGHT);

    Sending(Sides.Side side, JSONObject command) {
        this.side = side;
        producer = side.producer;
        mode = command.getString("mode");
        topic = command.getString("topic");
        threads = command.getIntValue("threads");
        runNs = (long) (command.getDoubleValue("seconds") * 1e9);
        body = new byte[command.getIntValue("size")];
    }

    JSONObject run() throws Exception {
        boolean oneWay = mode.equals("oneway");
        long before = oneWay ? stored() : 0;
        long started = System.nanoTime();
        CountDownLatch running = new CountDownLatch(threads);
        for (int number = 0; number < threads; number++) {
            Thread thread = new Thread(() -> {
                sendUntil(started + runNs);
                running.countDown();
            });
            thread.setDaemon(true);
            thread.start();
        }
        running.await();
        free.acquire(ASYNC_IN_FLIGHT); // all answers of asynchronous sends have come
        if (oneWay) {
            awaitStored(before + stored.get());
        }
        double seconds = (System.nanoTime() - started) / 1e9;
        if (oneWay) {
            long arrived = stored() - before;
            failed.addAndGet(stored.get() - arrived);
            stored.set(arrived);
        }
        return new JSONObject().fluentPut("messages", stored.get()).fluentPut("failed", failed.get())
            .fluentPut("seconds", seconds);
    }

    private void sendUntil(long end) {
        while (System.nanoTime() < end) {
            try {
                sendOne();
            } catch (Exception error) {
                failed.incrementAndGet();
            }
        }
    }

    private void sendOne() throws Exception {
        switch (mode) {
            case "sync" -> count(producer.send(message()).getSendStatus() == SendStatus.SEND_OK, 1);
            case "async" -> sendAsync();
            case "oneway" -> {
                producer.sendOneway(message());
                stored.incrementAndGet();
            }
            case "batch" -> {
                List<Message> batch = new ArrayList<>(BATCH);
                for (int number = 0; number < BATCH; number++) {
                    batch.add(message());
                }
                count(producer.send(batch).getSendStatus() == SendStatus.SEND_OK, BATCH);
            }
            case "transaction" -> count(
                side.transactions.sendMessageInTransaction(message(), null).getSendStatus() == SendStatus.SEND_OK, 1);
            default -> throw new IllegalArgumentException("no mode " + mode);
        }
    }

    private void sendAsync() throws Exception {
        free.acquire();
        try {
            producer.send(message(), new SendCallback() {
                @Override
                public void onSuccess(SendResult result) {
                    count(result.getSendStatus() == SendStatus.SEND_OK, 1);
                    free.release();
                }

                @Override
                public void onException(Throwable error) {
                    count(false, 1);
                    free.release();
                }
            });
        } catch (Exception error) {
            free.release();
            throw error;
        }
    }

    private Message message() {
        return new Message(topic, "TagA", body);
    }

    private void count(boolean good, int messages) {
        (good ? stored : failed).addAndGet(messages);
    }

    /** How many messages the topic has held so far. */
    private long stored() throws Exception {
        long sum = 0;
        for (MessageQueue queue : producer.fetchPublishMessageQueues(topic)) {
            sum += producer.maxOffset(queue);
        }
        return sum;
    }

    /** One-way sends are counted by what arrives: until all of them have, or nothing more comes. */
    private void awaitStored(long wanted) throws Exception {
        long last = -1;
        long changed = System.nanoTime();
        while (System.nanoTime() - changed < STORED_TIMEOUT_NS / 20) {
            long now = stored();
            if (now >= wanted) {
                return;
            }
            if (now != last) {
                last = now;
                changed = System.nanoTime();
            }
            Thread.sleep(1);
        }
    }
}
