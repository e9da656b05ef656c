package interop;

import com.alibaba.fastjson.JSONArray;
import com.alibaba.fastjson.JSONObject;
import java.util.Map;
import java.util.TreeMap;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.common.protocol.body.ConsumeMessageDirectlyResult;
import org.apache.rocketmq.common.protocol.body.ConsumerRunningInfo;
import org.apache.rocketmq.common.subscription.SubscriptionGroupConfig;
import org.apache.rocketmq.tools.admin.DefaultMQAdminExt;

/** The commands of an operator, by the client that Apache's own tools use. */
final class Admins {
    private static final int TIMEOUT_MS = 10_000;

    private final Map<String, DefaultMQAdminExt> byNameServer = new TreeMap<>();

    static boolean knows(String name) {
        return name.startsWith("admin_");
    }

    JSONObject carryOut(String name, JSONObject command) throws Exception {
        DefaultMQAdminExt admin = admin(command.getString("namesrv"));
        String group = command.getString("group");
        String topic = command.getString("topic");
        return switch (name) {
            case "admin_reset" -> new JSONObject().fluentPut("offsets", offsets(admin.resetOffsetByTimestamp(
                topic, group, command.getLongValue("timestamp"), command.getBooleanValue("force"))));
            case "admin_status" -> status(admin.getConsumeStatus(topic, group, command.getString("clientId")));
            case "admin_running" -> running(
                admin.getConsumerRunningInfo(group, command.getString("clientId"), false));
            case "admin_try" -> tried(admin.consumeMessageDirectly(
                group, command.getString("clientId"), topic, command.getString("id")));
            case "admin_put_group" -> putGroup(admin, command);
            case "admin_delete_group" -> deleteGroup(admin, command);
            case "admin_groups" -> groups(admin, command);
            default -> throw new IllegalArgumentException("no command " + name);
        };
    }

    private DefaultMQAdminExt admin(String namesrv) throws Exception {
        DefaultMQAdminExt admin = byNameServer.get(namesrv);
        if (admin == null) {
            admin = new DefaultMQAdminExt(TIMEOUT_MS);
            admin.setInstanceName("operator-" + byNameServer.size());
            admin.setNamesrvAddr(namesrv);
            admin.start();
            byNameServer.put(namesrv, admin);
        }
        return admin;
    }

    /** By the number of the queue. */
    private static JSONObject offsets(Map<MessageQueue, Long> table) {
        JSONObject offsets = new JSONObject();
        table.forEach((queue, offset) -> offsets.put(String.valueOf(queue.getQueueId()), offset));
        return offsets;
    }

    private static JSONObject status(Map<String, Map<MessageQueue, Long>> byClient) {
        JSONObject clients = new JSONObject();
        byClient.forEach((clientId, table) -> clients.put(clientId, offsets(table)));
        return new JSONObject().fluentPut("clients", clients);
    }

    private static JSONObject running(ConsumerRunningInfo info) {
        JSONArray subscriptions = new JSONArray();
        info.getSubscriptionSet().forEach(one -> subscriptions.add(one.getTopic() + ":" + one.getSubString()));
        JSONObject queues = new JSONObject();
        info.getMqTable().forEach((queue, state) ->
            queues.put(queue.getTopic() + ":" + queue.getQueueId(), state.getCommitOffset()));
        return new JSONObject()
            .fluentPut("properties", info.getProperties())
            .fluentPut("subscriptions", subscriptions)
            .fluentPut("queues", queues);
    }

    private static JSONObject tried(ConsumeMessageDirectlyResult result) {
        return new JSONObject()
            .fluentPut("result", String.valueOf(result.getConsumeResult()))
            .fluentPut("orderly", result.isOrder())
            .fluentPut("remark", result.getRemark());
    }

    private static JSONObject putGroup(DefaultMQAdminExt admin, JSONObject command) throws Exception {
        SubscriptionGroupConfig config = new SubscriptionGroupConfig();
        config.setGroupName(command.getString("group"));
        Settings.apply(command.getJSONObject("settings"), config);
        admin.createAndUpdateSubscriptionGroupConfig(command.getString("broker"), config);
        return new JSONObject();
    }

    private static JSONObject deleteGroup(DefaultMQAdminExt admin, JSONObject command) throws Exception {
        admin.deleteSubscriptionGroup(
            command.getString("broker"), command.getString("group"), command.getBooleanValue("removeOffset"));
        return new JSONObject();
    }

    private static JSONObject groups(DefaultMQAdminExt admin, JSONObject command) throws Exception {
        JSONObject groups = new JSONObject();
        admin.getAllSubscriptionGroup(command.getString("broker"), TIMEOUT_MS).getSubscriptionGroupTable()
            .forEach((name, config) -> groups.put(name, new JSONObject()
                .fluentPut("retryQueueNums", config.getRetryQueueNums())
                .fluentPut("retryMaxTimes", config.getRetryMaxTimes())
                .fluentPut("consumeEnable", config.isConsumeEnable())
                .fluentPut("consumeBroadcastEnable", config.isConsumeBroadcastEnable())));
        return new JSONObject().fluentPut("groups", groups);
    }

    void stopAll() {
        byNameServer.values().forEach(DefaultMQAdminExt::shutdown);
    }
}
