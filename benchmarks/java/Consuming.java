import com.alibaba.fastjson.JSONObject;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicLong;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.MessageSelector;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;

/** Push consumption: of what has been stored before, and of what is sent meanwhile. */
final class Consuming {
    private static final long FIRST_TIMEOUT_S = 30;

    /** A new group takes "count" messages of "topic"; the seconds from the first to the last of them. */
    static JSONObject backlog(Sides.Side side, JSONObject command) throws Exception {
        long count = command.getLongValue("count");
        AtomicLong received = new AtomicLong();
        AtomicLong first = new AtomicLong();
        AtomicLong last = new AtomicLong();
        CountDownLatch done = new CountDownLatch(1);
        DefaultMQPushConsumer consumer = consumer(side, command);
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            first.compareAndSet(0, System.nanoTime());
            long sum = received.addAndGet(messages.size());
            if (sum >= count) {
                last.compareAndSet(0, System.nanoTime());
                done.countDown();
            }
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        consumer.start();
        boolean all = done.await(command.getLongValue("timeoutMs"), TimeUnit.MILLISECONDS);
        consumer.shutdown();
        if (!all) {
            throw new IllegalStateException("only " + received.get() + " of " + count + " messages came");
        }
        return new JSONObject().fluentPut("messages", count).fluentPut("failed", 0)
            .fluentPut("seconds", (last.get() - first.get()) / 1e9);
    }

    /** What a running consumer receives in "seconds" while "threads" threads send to its topic. */
    static JSONObject live(Sides.Side side, JSONObject command) throws Exception {
        AtomicLong received = new AtomicLong();
        CountDownLatch begun = new CountDownLatch(1);
        DefaultMQPushConsumer consumer = consumer(side, command);
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            received.addAndGet(messages.size());
            begun.countDown();
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        consumer.start();
        JSONObject sending = new JSONObject(command).fluentPut("mode", "sync");
        long[] marks = new long[3]; // at the beginning: when, how many; failed sends at the end
        new Sending(side, new JSONObject(command).fluentPut("mode", "sync").fluentPut("seconds", 0.5)).run();
        if (!begun.await(FIRST_TIMEOUT_S, TimeUnit.SECONDS)) {
            throw new IllegalStateException("nothing was received");
        }
        marks[0] = System.nanoTime();
        marks[1] = received.get();
        marks[2] = new Sending(side, sending).run().getLongValue("failed");
        double seconds = (System.nanoTime() - marks[0]) / 1e9;
        long messages = received.get() - marks[1];
        consumer.shutdown();
        return new JSONObject().fluentPut("messages", messages).fluentPut("failed", marks[2])
            .fluentPut("seconds", seconds);
    }

    private static DefaultMQPushConsumer consumer(Sides.Side side, JSONObject command) throws Exception {
        DefaultMQPushConsumer consumer = side.consumer(command.getString("group"));
        String sql = command.getString("sql");
        if (sql == null) {
            consumer.subscribe(command.getString("topic"), command.getString("expression"));
        } else {
            consumer.subscribe(command.getString("topic"), MessageSelector.bySql(sql));
        }
        return consumer;
    }

    private Consuming() {
    }
}
