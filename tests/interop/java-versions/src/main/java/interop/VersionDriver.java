package interop;

import com.alibaba.fastjson.JSON;
import com.alibaba.fastjson.JSONArray;
import com.alibaba.fastjson.JSONObject;
import com.alibaba.fastjson.serializer.SerializerFeature;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.Base64;
import java.util.HashMap;
import java.util.List;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageAccessor;
import org.apache.rocketmq.common.message.MessageExt;

/**
 * Lets a test drive a Java client of any version, with no more of its API than all versions share. One command
 * per line on standard input, one answer per line on standard output, both JSON (see ../foreign_client.py).
 * Arguments: the address of the NameServer, the group.
 */
public final class VersionDriver {
    private static final int SEND_TIMEOUT_MS = 10_000;

    private final String namesrv;
    private final String group;
    private final JSONArray received = new JSONArray();
    private DefaultMQProducer producer;
    private DefaultMQPushConsumer consumer;

    private VersionDriver(String namesrv, String group) {
        this.namesrv = namesrv;
        this.group = group;
    }

    public static void main(String[] arguments) throws Exception {
        PrintStream answers = new PrintStream(System.out, true, StandardCharsets.UTF_8);
        System.setOut(System.err); // whatever a library prints must not be taken for an answer
        BufferedReader commands = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        VersionDriver driver = new VersionDriver(arguments[0], arguments[1]);
        String line;
        while ((line = commands.readLine()) != null) {
            JSONObject answer;
            try {
                answer = driver.carryOut(JSON.parseObject(line)).fluentPut("ok", true);
            } catch (Exception error) {
                answer = new JSONObject().fluentPut("ok", false).fluentPut("error", String.valueOf(error));
            }
            answers.println(JSON.toJSONString(answer, SerializerFeature.DisableCircularReferenceDetect));
        }
        driver.stop();
        System.exit(0); // some client threads are no daemons
    }

    private JSONObject carryOut(JSONObject command) throws Exception {
        String name = command.getString("do");
        return switch (name) {
            case "send" -> send(command.getJSONArray("messages"));
            case "subscribe" -> subscribe(command.getString("topic"), command.getString("expression"));
            case "received" -> received(command.getIntValue("count"), command.getLongValue("timeoutMs"));
            default -> throw new IllegalArgumentException("no command " + name);
        };
    }

    private JSONObject send(JSONArray messages) throws Exception {
        if (producer == null) {
            producer = new DefaultMQProducer(group + "-producer");
            producer.setNamesrvAddr(namesrv);
            producer.setSendMsgTimeout(SEND_TIMEOUT_MS);
            producer.start();
        }
        JSONArray results = new JSONArray();
        for (int index = 0; index < messages.size(); index++) {
            JSONObject item = messages.getJSONObject(index);
            byte[] body = Base64.getDecoder().decode(item.getString("body"));
            Message message = new Message(item.getString("topic"), item.getString("tags"), item.getString("keys"), body);
            if (item.containsKey("delayLevel")) {
                message.setDelayTimeLevel(item.getIntValue("delayLevel"));
            }
            setTimes(message, item.getJSONObject("times"));
            setProperties(message, item.getJSONObject("properties"));
            SendResult result = producer.send(message);
            results.add(new JSONObject()
                .fluentPut("sent", result.getSendStatus() == SendStatus.SEND_OK)
                .fluentPut("msgId", result.getMsgId()));
        }
        return new JSONObject().fluentPut("results", results);
    }

    /** By the setters that clients have since version 5: {"setDelayTimeSec": 2}. */
    private static void setTimes(Message message, JSONObject times) throws ReflectiveOperationException {
        if (times != null) {
            for (String setter : times.keySet()) {
                Message.class.getMethod(setter, long.class).invoke(message, times.getLongValue(setter));
            }
        }
    }

    /** Also those that the client keeps for itself, such as the key of the message that is to be cancelled. */
    private static void setProperties(Message message, JSONObject properties) {
        if (properties != null) {
            for (String name : properties.keySet()) {
                MessageAccessor.putProperty(message, name, properties.getString(name));
            }
        }
    }

    private JSONObject subscribe(String topic, String expression) throws Exception {
        consumer = new DefaultMQPushConsumer(group);
        consumer.setNamesrvAddr(namesrv);
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        consumer.subscribe(topic, expression);
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> consume(messages));
        consumer.start();
        return new JSONObject();
    }

    private ConsumeConcurrentlyStatus consume(List<MessageExt> messages) {
        ConsumeConcurrentlyStatus status = ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        synchronized (received) {
            for (MessageExt message : messages) {
                received.add(toJson(message));
                String body = new String(message.getBody(), StandardCharsets.UTF_8);
                if (message.getReconsumeTimes() == 0 && body.startsWith("fail once")) {
                    status = ConsumeConcurrentlyStatus.RECONSUME_LATER;
                }
            }
            received.notifyAll();
        }
        return status;
    }

    private static JSONObject toJson(MessageExt message) {
        return new JSONObject()
            .fluentPut("topic", message.getTopic())
            .fluentPut("body", Base64.getEncoder().encodeToString(message.getBody()))
            .fluentPut("tags", message.getTags())
            .fluentPut("keys", message.getKeys())
            .fluentPut("msgId", message.getMsgId())
            .fluentPut("properties", new HashMap<>(message.getProperties()))
            .fluentPut("reconsumeTimes", message.getReconsumeTimes())
            .fluentPut("bornTimestamp", message.getBornTimestamp())
            .fluentPut("storeTimestamp", message.getStoreTimestamp());
    }

    private JSONObject received(int count, long timeoutMs) throws InterruptedException {
        long deadline = System.nanoTime() + timeoutMs * 1_000_000;
        synchronized (received) {
            for (long leftMs = timeoutMs; received.size() < count && leftMs > 0;
                    leftMs = (deadline - System.nanoTime()) / 1_000_000) {
                received.wait(leftMs);
            }
            return new JSONObject().fluentPut("messages", received.clone());
        }
    }

    private void stop() {
        if (consumer != null) {
            consumer.shutdown();
        }
        if (producer != null) {
            producer.shutdown();
        }
    }
}
