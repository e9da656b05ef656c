package interop;

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintWriter;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeOrderlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerOrderly;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;

/**
 * Arguments: NameServer, topic, queues, file, pause between sends in ms. One thread sends to each queue, numbered
 * messages one after the other and each again until it was taken; an orderly consumer receives them. The file gets a
 * line for everything: "S queue number status ms" (sent), "E queue number error ms" (not), "R queue number ms".
 * A line of input stops the sending, the next one the program.
 */
public final class OrderedLoad {
    private static volatile boolean sending = true;

    public static void main(String[] arguments) throws Exception {
        String topic = arguments[1];
        int queues = Integer.parseInt(arguments[2]);
        long pauseMs = Long.parseLong(arguments[4]);
        PrintWriter out = new PrintWriter(Files.newBufferedWriter(Path.of(arguments[3])), true);
        DefaultMQPushConsumer consumer = new DefaultMQPushConsumer("ordered-load-consumers");
        consumer.setNamesrvAddr(arguments[0]);
        consumer.setPollNameServerInterval(1000);
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        consumer.subscribe(topic, "*");
        consumer.registerMessageListener((MessageListenerOrderly) (messages, context) -> {
            for (MessageExt message : messages) {
                String number = new String(message.getBody(), StandardCharsets.US_ASCII);
                line(out, "R " + message.getQueueId() + " " + number);
            }
            return ConsumeOrderlyStatus.SUCCESS;
        });
        DefaultMQProducer producer = new DefaultMQProducer("ordered-load-producers");
        producer.setNamesrvAddr(arguments[0]);
        producer.setPollNameServerInterval(1000);
        producer.start();
        consumer.start();
        Thread[] threads = new Thread[queues];
        for (int queue = 0; queue < queues; queue++) {
            int chosen = queue;
            threads[queue] = new Thread(() -> send(producer, topic, chosen, pauseMs, out));
            threads[queue].start();
        }
        BufferedReader input = new BufferedReader(new InputStreamReader(System.in));
        System.out.println("running");
        input.readLine();
        sending = false;
        for (Thread thread : threads) {
            thread.join();
        }
        System.out.println("stopped");
        input.readLine();
        consumer.shutdown();
        producer.shutdown();
        System.exit(0);
    }

    private static void send(DefaultMQProducer producer, String topic, int queue, long pauseMs, PrintWriter out) {
        for (int number = 0; sending;) {
            byte[] body = Integer.toString(number).getBytes(StandardCharsets.US_ASCII);
            String what = queue + " " + number;
            try {
                SendResult result = producer.send(
                    new Message(topic, body), (found, ignored, wanted) -> found.get((Integer) wanted), queue);
                line(out, "S " + what + " " + result.getSendStatus());
                number++;
                Thread.sleep(pauseMs);
            } catch (Exception error) {
                line(out, "E " + what + " " + error.getClass().getSimpleName());
                pause();
            }
        }
    }

    private static void pause() {
        try {
            Thread.sleep(100);
        } catch (InterruptedException error) {
            Thread.currentThread().interrupt();
        }
    }

    private static void line(PrintWriter out, String text) {
        out.println(text + " " + System.currentTimeMillis());
    }
}
