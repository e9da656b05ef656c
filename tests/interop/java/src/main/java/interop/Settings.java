package interop;

import com.alibaba.fastjson.JSONObject;
import com.alibaba.fastjson.util.TypeUtils;
import java.lang.reflect.Method;
import java.util.Map;

/** Carries the "settings" of a command to the setters of a client object by their property names. */
final class Settings {
    private Settings() {
    }

    static void apply(JSONObject settings, Object bean) throws ReflectiveOperationException {
        if (settings == null) {
            return;
        }
        for (Map.Entry<String, Object> setting : settings.entrySet()) {
            Method setter = setter(bean.getClass(), setting.getKey());
            Class<?> type = setter.getParameterTypes()[0];
            setter.invoke(bean, TypeUtils.cast(setting.getValue(), type, null));
        }
    }

    private static Method setter(Class<?> type, String property) {
        String name = "set" + Character.toUpperCase(property.charAt(0)) + property.substring(1);
        for (Method method : type.getMethods()) {
            if (method.getName().equals(name) && method.getParameterCount() == 1) {
                return method;
            }
        }
        throw new IllegalArgumentException(type.getSimpleName() + " has no property " + property);
    }
}
