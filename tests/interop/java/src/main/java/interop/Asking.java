package interop;

import com.alibaba.fastjson.JSONArray;
import com.alibaba.fastjson.JSONObject;
import java.nio.charset.StandardCharsets;
import java.util.Map;
import java.util.TreeMap;
import org.apache.rocketmq.client.QueryResult;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.utils.MessageUtil;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;

/** The commands about requests that are answered by messages, and about looking stored messages up. */
final class Asking {
    private final Map<String, DefaultMQProducer> askers = new TreeMap<>();
    private final Map<String, DefaultMQPushConsumer> repliers = new TreeMap<>();

    static boolean knows(String name) {
        return name.startsWith("ask_");
    }

    JSONObject carryOut(String name, JSONObject command) throws Exception {
        return switch (name) {
            case "ask_start" -> startAsker(command);
            case "ask_start_replier" -> startReplier(command);
            case "ask_request" -> request(command);
            case "ask_query" -> query(command);
            case "ask_view" -> new JSONObject().fluentPut("message", Messages.toJson(view(command)));
            default -> throw new IllegalArgumentException("no command " + name);
        };
    }

    private JSONObject startAsker(JSONObject command) throws Exception {
        askers.put(command.getString("asker"), startedProducer(command.getString("asker"), command));
        return new JSONObject();
    }

    private static DefaultMQProducer startedProducer(String group, JSONObject command) throws Exception {
        DefaultMQProducer producer = new DefaultMQProducer(group);
        producer.setNamesrvAddr(command.getString("namesrv"));
        Settings.apply(command.getJSONObject("settings"), producer);
        producer.start();
        return producer;
    }

    /** A consumer that answers each request with "re: " and its body; one "keep silent" with nothing. */
    private JSONObject startReplier(JSONObject command) throws Exception {
        String group = command.getString("group");
        DefaultMQProducer producer = startedProducer(group + "-replies", command);
        DefaultMQPushConsumer consumer = new DefaultMQPushConsumer(group);
        consumer.setNamesrvAddr(command.getString("namesrv"));
        consumer.setPullTimeDelayMillsWhenException(200);
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        consumer.subscribe(command.getString("topic"), "*");
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            for (MessageExt message : messages) {
                String body = new String(message.getBody(), StandardCharsets.UTF_8);
                if (body.equals("keep silent")) {
                    continue;
                }
                try {
                    byte[] reply = ("re: " + body).getBytes(StandardCharsets.UTF_8);
                    producer.send(MessageUtil.createReplyMessage(message, reply));
                } catch (Exception error) {
                    error.printStackTrace();
                }
            }
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        consumer.start();
        repliers.put(group, consumer);
        askers.put(group + "-replies", producer);
        return new JSONObject();
    }

    private JSONObject request(JSONObject command) throws Exception {
        Message message = Messages.fromJson(new JSONArray().fluentAdd(command.getJSONObject("message"))).get(0);
        Message reply = asker(command).request(message, command.getLongValue("timeoutMs"));
        return new JSONObject()
            .fluentPut("reply", new String(reply.getBody(), StandardCharsets.UTF_8))
            .fluentPut("topic", reply.getTopic());
    }

    private JSONObject query(JSONObject command) throws Exception {
        JSONArray messages = new JSONArray();
        QueryResult result = asker(command).queryMessage(
            command.getString("topic"), command.getString("key"), command.getIntValue("count"),
            command.getLongValue("begin"), command.getLongValue("end"));
        result.getMessageList().forEach(message -> messages.add(Messages.toJson(message)));
        return new JSONObject().fluentPut("messages", messages);
    }

    /** By the place in the log alone, or with a "topic" by either kind of id. */
    private MessageExt view(JSONObject command) throws Exception {
        if (command.containsKey("topic")) {
            return asker(command).viewMessage(command.getString("topic"), command.getString("id"));
        }
        return asker(command).viewMessage(command.getString("id"));
    }

    private DefaultMQProducer asker(JSONObject command) {
        DefaultMQProducer asker = askers.get(command.getString("asker"));
        if (asker == null) {
            throw new IllegalArgumentException("nobody asks as " + command.getString("asker"));
        }
        return asker;
    }

    void stopAll() {
        repliers.values().forEach(DefaultMQPushConsumer::shutdown);
        askers.values().forEach(DefaultMQProducer::shutdown);
    }
}
