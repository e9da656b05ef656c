package interop;

import com.alibaba.fastjson.JSONArray;
import com.alibaba.fastjson.JSONObject;
import java.util.ArrayList;
import java.util.Base64;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;

/** Messages and send results as JSON; bodies in base64, so that no byte is interpreted on the way. */
final class Messages {
    private Messages() {
    }

    static List<Message> fromJson(JSONArray items) {
        List<Message> messages = new ArrayList<>(items.size());
        for (int index = 0; index < items.size(); index++) {
            messages.add(fromJson(items.getJSONObject(index)));
        }
        return messages;
    }

    private static Message fromJson(JSONObject item) {
        byte[] body = Base64.getDecoder().decode(item.getString("body"));
        Message message = new Message(
            item.getString("topic"), item.getString("tags"), item.getString("keys"), item.getIntValue("flag"), body, true);
        if (item.containsKey("delayLevel")) {
            message.setDelayTimeLevel(item.getIntValue("delayLevel"));
        }
        JSONObject properties = item.getJSONObject("properties");
        if (properties != null) {
            for (Map.Entry<String, Object> property : properties.entrySet()) {
                message.putUserProperty(property.getKey(), String.valueOf(property.getValue()));
            }
        }
        return message;
    }

    static JSONObject toJson(MessageExt message) {
        JSONObject item = new JSONObject();
        item.put("topic", message.getTopic());
        item.put("tags", message.getTags());
        item.put("keys", message.getKeys());
        item.put("flag", message.getFlag());
        item.put("body", Base64.getEncoder().encodeToString(message.getBody()));
        // A copy: for another try the client changes the message's own, while it is being told of.
        item.put("properties", new HashMap<>(message.getProperties()));
        item.put("msgId", message.getMsgId());
        item.put("brokerName", message.getBrokerName());
        item.put("queueId", message.getQueueId());
        item.put("queueOffset", message.getQueueOffset());
        item.put("sysFlag", message.getSysFlag());
        item.put("storeSize", message.getStoreSize());
        item.put("storeTimestamp", message.getStoreTimestamp());
        item.put("reconsumeTimes", message.getReconsumeTimes());
        return item;
    }

    static JSONObject toJson(SendResult result) {
        JSONObject item = new JSONObject();
        item.put("status", result.getSendStatus().name());
        item.put("msgId", result.getMsgId());
        item.put("offsetMsgId", result.getOffsetMsgId());
        item.put("brokerName", result.getMessageQueue().getBrokerName());
        item.put("queueId", result.getMessageQueue().getQueueId());
        item.put("queueOffset", result.getQueueOffset());
        return item;
    }
}
