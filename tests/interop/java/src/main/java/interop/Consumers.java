package interop;

import com.alibaba.fastjson.JSONArray;
import com.alibaba.fastjson.JSONObject;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.TreeSet;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.exception.MQBrokerException;
import org.apache.rocketmq.client.impl.factory.MQClientInstance;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.common.protocol.header.QueryConsumerOffsetRequestHeader;

/** The commands about push consumers. A consumer has a name of its own: several may share a group. */
final class Consumers {
    private static final int QUERY_TIMEOUT_MS = 3000;

    private final Map<String, Running> byName = new TreeMap<>();

    /** A started consumer and what it has received, in order of arrival. */
    private static final class Running {
        final DefaultMQPushConsumer consumer;
        final String topic;
        private final List<JSONObject> received = new ArrayList<>();

        Running(DefaultMQPushConsumer consumer, String topic) {
            this.consumer = consumer;
            this.topic = topic;
        }

        synchronized void add(List<MessageExt> messages) {
            messages.forEach(message -> received.add(Messages.toJson(message)));
            notifyAll();
        }

        synchronized List<JSONObject> await(int count, long timeoutMs) throws InterruptedException {
            long deadline = System.nanoTime() + timeoutMs * 1_000_000;
            while (received.size() < count) {
                long leftMs = (deadline - System.nanoTime()) / 1_000_000;
                if (leftMs <= 0) {
                    break;
                }
                wait(leftMs);
            }
            return new ArrayList<>(received);
        }
    }

    JSONObject start(JSONObject command) throws Exception {
        DefaultMQPushConsumer consumer = new DefaultMQPushConsumer(command.getString("group"));
        consumer.setNamesrvAddr(command.getString("namesrv"));
        Settings.apply(command.getJSONObject("settings"), consumer);
        Running running = new Running(consumer, command.getString("topic"));
        Filters.subscribe(consumer, command);
        Listeners.register(consumer, command, running::add);
        Filters.start(consumer);
        byName.put(command.getString("consumer"), running);
        return new JSONObject().fluentPut("clientId", clientOf(running).getClientId());
    }

    /** Everything received so far, after waiting until "count" messages are there or "timeoutMs" is over. */
    JSONObject received(JSONObject command) throws Exception {
        Running running = running(command);
        JSONArray messages = new JSONArray();
        messages.addAll(running.await(command.getIntValue("count"), command.getLongValue("timeoutMs")));
        return new JSONObject().fluentPut("messages", messages);
    }

    /** The queues of its topic that the consumer works on at this moment. */
    JSONObject assigned(JSONObject command) {
        Running running = running(command);
        TreeSet<String> queues = new TreeSet<>();
        var table = running.consumer.getDefaultMQPushConsumerImpl().getRebalanceImpl().getProcessQueueTable();
        for (MessageQueue queue : table.keySet()) {
            if (queue.getTopic().equals(running.topic)) {
                queues.add(queue.getBrokerName() + ":" + queue.getQueueId());
            }
        }
        return new JSONObject().fluentPut("queues", queues);
    }

    /** Commits, which the client by itself does first after 10 s; then: what the brokers hold as uncommitted. */
    JSONObject lag(JSONObject command) throws Exception {
        Running running = running(command);
        running.consumer.getDefaultMQPushConsumerImpl().persistConsumerOffset();
        long lag = 0;
        for (MessageQueue queue : running.consumer.fetchSubscribeMessageQueues(running.topic)) {
            lag += running.consumer.maxOffset(queue) - committed(running, queue);
        }
        return new JSONObject().fluentPut("lag", lag);
    }

    /** Asks the broker itself: the offset store's own read would overwrite what the consumer remembers. */
    private static long committed(Running running, MessageQueue queue) throws Exception {
        MQClientInstance client = clientOf(running);
        QueryConsumerOffsetRequestHeader header = new QueryConsumerOffsetRequestHeader();
        header.setConsumerGroup(running.consumer.getConsumerGroup());
        header.setTopic(queue.getTopic());
        header.setQueueId(queue.getQueueId());
        String address = client.findBrokerAddressInPublish(queue.getBrokerName());
        try {
            return client.getMQClientAPIImpl().queryConsumerOffset(address, header, QUERY_TIMEOUT_MS);
        } catch (MQBrokerException nothingStored) {
            return 0;
        }
    }

    /** Answers everything that it has received in its life. */
    JSONObject stop(JSONObject command) throws Exception {
        Running running = running(command);
        running.consumer.shutdown();
        byName.remove(command.getString("consumer"));
        JSONArray messages = new JSONArray();
        messages.addAll(running.await(0, 0));
        return new JSONObject().fluentPut("messages", messages);
    }

    void stopAll() {
        byName.values().forEach(running -> running.consumer.shutdown());
    }

    private static MQClientInstance clientOf(Running running) {
        return running.consumer.getDefaultMQPushConsumerImpl().getmQClientFactory();
    }

    private Running running(JSONObject command) {
        Running running = byName.get(command.getString("consumer"));
        if (running == null) {
            throw new IllegalArgumentException("no consumer " + command.getString("consumer"));
        }
        return running;
    }
}
