package interop;

import com.alibaba.fastjson.JSONArray;
import com.alibaba.fastjson.JSONObject;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import org.apache.rocketmq.client.consumer.DefaultLitePullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.PullResult;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/** The commands about consumers that ask for messages themselves; queues are {"brokerName", "queueId"} of a topic. */
final class Pulling {
    private final Map<String, DefaultLitePullConsumer> lite = new TreeMap<>();
    private final Map<String, DefaultMQPullConsumer> plain = new TreeMap<>();

    static boolean knows(String name) {
        return name.startsWith("lite_") || name.startsWith("pull_");
    }

    JSONObject carryOut(String name, JSONObject command) throws Exception {
        return switch (name) {
            case "lite_start" -> startLite(command);
            case "lite_queues" -> queues(lite(command).fetchMessageQueues(command.getString("topic")));
            case "lite_assign" -> assign(command);
            case "lite_poll" -> poll(command);
            case "lite_seek" -> seek(command);
            case "lite_pause" -> pause(command);
            case "lite_commit" -> commit(command);
            case "lite_committed" -> number(lite(command).committed(queue(command)));
            case "lite_offset_by_time" ->
                number(lite(command).offsetForTimestamp(queue(command), command.getLong("timestamp")));
            case "lite_stop" -> stopLite(command);
            case "pull_start" -> startPlain(command);
            case "pull_queues" -> queues(plain(command).fetchSubscribeMessageQueues(command.getString("topic")));
            case "pull_once" -> pull(command);
            case "pull_commit" -> commitPlain(command);
            case "pull_offsets" -> offsets(command);
            case "pull_stop" -> stopPlain(command);
            default -> throw new IllegalArgumentException("no command " + name);
        };
    }

    // -- lite pull ---------------------------------------------------------------------------------------------

    /** With an "expression" it subscribes to the topic; without one its queues are assigned later. */
    private JSONObject startLite(JSONObject command) throws Exception {
        DefaultLitePullConsumer consumer = new DefaultLitePullConsumer(command.getString("group"));
        consumer.setNamesrvAddr(command.getString("namesrv"));
        Settings.apply(command.getJSONObject("settings"), consumer);
        if (command.containsKey("expression")) {
            consumer.subscribe(command.getString("topic"), command.getString("expression"));
        }
        consumer.start();
        lite.put(command.getString("consumer"), consumer);
        return new JSONObject();
    }

    private JSONObject assign(JSONObject command) {
        lite(command).assign(queueList(command));
        return new JSONObject();
    }

    /** Polls until "count" messages are there or "timeoutMs" is over; each is given out once. */
    private JSONObject poll(JSONObject command) {
        DefaultLitePullConsumer consumer = lite(command);
        int count = command.getIntValue("count");
        long deadline = System.nanoTime() + command.getLongValue("timeoutMs") * 1_000_000;
        JSONArray messages = new JSONArray();
        while (messages.size() < count && System.nanoTime() < deadline) {
            for (MessageExt message : consumer.poll(100)) {
                messages.add(Messages.toJson(message));
            }
        }
        return new JSONObject().fluentPut("messages", messages);
    }

    /** To "offset", which may be "begin" or "end". */
    private JSONObject seek(JSONObject command) throws Exception {
        DefaultLitePullConsumer consumer = lite(command);
        MessageQueue queue = queue(command);
        String offset = command.getString("offset");
        switch (offset) {
            case "begin" -> consumer.seekToBegin(queue);
            case "end" -> consumer.seekToEnd(queue);
            default -> consumer.seek(queue, Long.parseLong(offset));
        }
        return new JSONObject();
    }

    /** Pauses the queues, or with "paused": false resumes them. */
    private JSONObject pause(JSONObject command) {
        if (command.getBooleanValue("paused")) {
            lite(command).pause(queueList(command));
        } else {
            lite(command).resume(queueList(command));
        }
        return new JSONObject();
    }

    private JSONObject commit(JSONObject command) throws Exception {
        lite(command).commitSync();
        return new JSONObject();
    }

    private JSONObject stopLite(JSONObject command) {
        lite(command).shutdown();
        lite.remove(command.getString("consumer"));
        return new JSONObject();
    }

    private DefaultLitePullConsumer lite(JSONObject command) {
        return known(lite, command.getString("consumer"));
    }

    // -- pull --------------------------------------------------------------------------------------------------

    private JSONObject startPlain(JSONObject command) throws Exception {
        DefaultMQPullConsumer consumer = new DefaultMQPullConsumer(command.getString("group"));
        consumer.setNamesrvAddr(command.getString("namesrv"));
        Settings.apply(command.getJSONObject("settings"), consumer);
        consumer.start();
        plain.put(command.getString("consumer"), consumer);
        return new JSONObject();
    }

    /** One request; "block" lets the broker hold it until there is a message. */
    private JSONObject pull(JSONObject command) throws Exception {
        DefaultMQPullConsumer consumer = plain(command);
        MessageQueue queue = queue(command);
        String expression = command.getString("expression");
        long offset = command.getLongValue("offset");
        int count = command.getIntValue("count");
        PullResult result = command.getBooleanValue("block")
            ? consumer.pullBlockIfNotFound(queue, expression, offset, count)
            : consumer.pull(queue, expression, offset, count);
        JSONArray messages = new JSONArray();
        if (result.getMsgFoundList() != null) {
            result.getMsgFoundList().forEach(message -> messages.add(Messages.toJson(message)));
        }
        return new JSONObject()
            .fluentPut("status", result.getPullStatus().name())
            .fluentPut("next", result.getNextBeginOffset())
            .fluentPut("min", result.getMinOffset())
            .fluentPut("max", result.getMaxOffset())
            .fluentPut("messages", messages);
    }

    private JSONObject commitPlain(JSONObject command) throws Exception {
        DefaultMQPullConsumer consumer = plain(command);
        consumer.updateConsumeOffset(queue(command), command.getLongValue("offset"));
        consumer.getDefaultMQPullConsumerImpl().getOffsetStore().persist(queue(command));
        return new JSONObject();
    }

    /** What the broker knows about the queue; "timestamp" asks for the offset of that time. */
    private JSONObject offsets(JSONObject command) throws Exception {
        DefaultMQPullConsumer consumer = plain(command);
        MessageQueue queue = queue(command);
        return new JSONObject()
            .fluentPut("min", consumer.minOffset(queue))
            .fluentPut("max", consumer.maxOffset(queue))
            .fluentPut("committed", consumer.fetchConsumeOffset(queue, true))
            .fluentPut("earliest", consumer.earliestMsgStoreTime(queue))
            .fluentPut("byTime", consumer.searchOffset(queue, command.getLongValue("timestamp")));
    }

    private JSONObject stopPlain(JSONObject command) {
        plain(command).shutdown();
        plain.remove(command.getString("consumer"));
        return new JSONObject();
    }

    private DefaultMQPullConsumer plain(JSONObject command) {
        return known(plain, command.getString("consumer"));
    }

    // -- both --------------------------------------------------------------------------------------------------

    void stopAll() {
        lite.values().forEach(DefaultLitePullConsumer::shutdown);
        plain.values().forEach(DefaultMQPullConsumer::shutdown);
    }

    private static <T> T known(Map<String, T> consumers, String name) {
        T consumer = consumers.get(name);
        if (consumer == null) {
            throw new IllegalArgumentException("no consumer " + name);
        }
        return consumer;
    }

    private static MessageQueue queue(JSONObject command) {
        return queue(command.getString("topic"), command.getJSONObject("queue"));
    }

    private static MessageQueue queue(String topic, JSONObject queue) {
        return new MessageQueue(topic, queue.getString("brokerName"), queue.getIntValue("queueId"));
    }

    private static List<MessageQueue> queueList(JSONObject command) {
        List<MessageQueue> queues = new ArrayList<>();
        JSONArray named = command.getJSONArray("queues");
        for (int index = 0; index < named.size(); index++) {
            queues.add(queue(command.getString("topic"), named.getJSONObject(index)));
        }
        return queues;
    }

    private static JSONObject queues(Iterable<MessageQueue> queues) {
        JSONArray named = new JSONArray();
        for (MessageQueue queue : queues) {
            named.add(new JSONObject()
                .fluentPut("brokerName", queue.getBrokerName())
                .fluentPut("queueId", queue.getQueueId()));
        }
        return new JSONObject().fluentPut("queues", named);
    }

    private static JSONObject number(long value) {
        return new JSONObject().fluentPut("value", value);
    }
}
