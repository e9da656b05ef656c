package interop;

import com.alibaba.fastjson.JSONArray;
import com.alibaba.fastjson.JSONObject;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendCallback;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.message.Message;

/** The commands about producers. A producer is called by the name of its group. */
final class Producers {
    private final Map<String, DefaultMQProducer> byGroup = new TreeMap<>();

    JSONObject start(JSONObject command) throws Exception {
        DefaultMQProducer producer = new DefaultMQProducer(command.getString("producer"));
        producer.setNamesrvAddr(command.getString("namesrv"));
        Settings.apply(command.getJSONObject("settings"), producer);
        producer.start();
        byGroup.put(producer.getProducerGroup(), producer);
        return new JSONObject();
    }

    JSONObject createTopic(JSONObject command) throws Exception {
        producer(command).createTopic("TBW102", command.getString("topic"), command.getIntValue("queues"));
        return new JSONObject();
    }

    JSONObject publishQueues(JSONObject command) throws Exception {
        JSONArray queues = new JSONArray();
        for (var queue : producer(command).fetchPublishMessageQueues(command.getString("topic"))) {
            queues.add(queue.getBrokerName() + ":" + queue.getQueueId());
        }
        return new JSONObject().fluentPut("queues", queues);
    }

    /** Sends "messages" by "mode"; answers one result a message, in order (one in all for a batch). */
    JSONObject send(JSONObject command) throws Exception {
        DefaultMQProducer producer = producer(command);
        List<Message> messages = Messages.fromJson(command.getJSONArray("messages"));
        JSONArray results = switch (command.getString("mode")) {
            case "sync" -> sync(producer, messages, command.getInteger("queueId"));
            case "async" -> async(producer, messages, command.getLongValue("timeoutMs"));
            case "oneway" -> oneway(producer, messages);
            case "batch" -> new JSONArray().fluentAdd(Messages.toJson(producer.send(messages)));
            default -> throw new IllegalArgumentException("no mode " + command.getString("mode"));
        };
        return new JSONObject().fluentPut("results", results);
    }

    private static JSONArray sync(DefaultMQProducer producer, List<Message> messages, Integer queueId) throws Exception {
        JSONArray results = new JSONArray();
        for (Message message : messages) {
            SendResult result = queueId == null
                ? producer.send(message)
                : producer.send(message, (queues, ignored, wanted) -> queues.get((Integer) wanted), queueId);
            results.add(Messages.toJson(result));
        }
        return results;
    }

    private static JSONArray async(DefaultMQProducer producer, List<Message> messages, long timeoutMs) throws Exception {
        JSONObject[] results = new JSONObject[messages.size()];
        CountDownLatch missing = new CountDownLatch(results.length);
        for (int index = 0; index < results.length; index++) {
            int place = index;
            producer.send(messages.get(index), new SendCallback() {
                @Override
                public void onSuccess(SendResult result) {
                    results[place] = Messages.toJson(result);
                    missing.countDown();
                }

                @Override
                public void onException(Throwable error) {
                    results[place] = new JSONObject().fluentPut("status", String.valueOf(error));
                    missing.countDown();
                }
            });
        }
        if (!missing.await(timeoutMs, TimeUnit.MILLISECONDS)) {
            throw new IllegalStateException(missing.getCount() + " asynchronous sends did not end in time");
        }
        JSONArray inOrder = new JSONArray();
        inOrder.addAll(List.of(results));
        return inOrder;
    }

    private static JSONArray oneway(DefaultMQProducer producer, List<Message> messages) throws Exception {
        for (Message message : messages) {
            producer.sendOneway(message);
        }
        return new JSONArray();
    }

    JSONObject stop(JSONObject command) {
        producer(command).shutdown();
        byGroup.remove(command.getString("producer"));
        return new JSONObject();
    }

    void stopAll() {
        byGroup.values().forEach(DefaultMQProducer::shutdown);
    }

    private DefaultMQProducer producer(JSONObject command) {
        DefaultMQProducer producer = byGroup.get(command.getString("producer"));
        if (producer == null) {
            throw new IllegalArgumentException("no producer " + command.getString("producer"));
        }
        return producer;
    }
}
