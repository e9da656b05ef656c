package interop;

import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicLong;
import org.apache.rocketmq.client.producer.LocalTransactionState;
import org.apache.rocketmq.client.producer.TransactionListener;
import org.apache.rocketmq.client.producer.TransactionMQProducer;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;

/**
 * Arguments: NameServer, topic, threads, seconds, body bytes. Sends transactions that commit at once and prints
 * how many a second, after a warm-up of the same length.
 */
public final class TransactionLoad {
    public static void main(String[] arguments) throws Exception {
        String topic = arguments[1];
        int threads = Integer.parseInt(arguments[2]);
        long runMs = Long.parseLong(arguments[3]) * 1000;
        byte[] body = new byte[Integer.parseInt(arguments[4])];
        TransactionMQProducer producer = new TransactionMQProducer("transaction-load");
        producer.setNamesrvAddr(arguments[0]);
        producer.setTransactionListener(new TransactionListener() {
            @Override
            public LocalTransactionState executeLocalTransaction(Message message, Object ignored) {
                return LocalTransactionState.COMMIT_MESSAGE;
            }

            @Override
            public LocalTransactionState checkLocalTransaction(MessageExt message) {
                return LocalTransactionState.COMMIT_MESSAGE;
            }
        });
        producer.start();
        for (String phase : new String[] {"warm-up", "measured"}) {
            AtomicLong sent = new AtomicLong();
            AtomicLong failed = new AtomicLong();
            CountDownLatch running = new CountDownLatch(threads);
            long started = System.nanoTime();
            for (int number = 0; number < threads; number++) {
                new Thread(() -> {
                    while (System.nanoTime() - started < runMs * 1_000_000) {
                        try {
                            producer.sendMessageInTransaction(new Message(topic, body), null);
                            sent.incrementAndGet();
                        } catch (Exception error) {
                            failed.incrementAndGet();
                        }
                    }
                    running.countDown();
                }).start();
            }
            running.await();
            double seconds = (System.nanoTime() - started) / 1e9;
            System.out.printf("%s %.0f %d%n", phase, sent.get() / seconds, failed.get());
        }
        producer.shutdown();
        System.exit(0);
    }
}
