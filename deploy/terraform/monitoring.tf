# The files are of the form that Google's API takes; ${...} in them is filled in here.

locals {
  monitoring = "${path.module}/../monitoring"

  names = {
    project             = var.project
    job_name            = var.name
    subscription_id     = google_pubsub_subscription.events.name
    hold_bucket         = google_storage_bucket.buckets["hold"].name
    dead_letters_bucket = google_storage_bucket.buckets["dead-letters"].name
  }

  log_metrics = {
    for metric in jsondecode(templatefile("${local.monitoring}/log_metrics.json", local.names)) :
    metric.name => metric
  }

  policies = {
    for file in fileset("${local.monitoring}/alerts", "*.json") :
    trimsuffix(file, ".json") => jsondecode(templatefile("${local.monitoring}/alerts/${file}", local.names))
  }
}

resource "google_logging_metric" "log" {
  for_each = local.log_metrics

  name        = each.value.name
  description = each.value.description
  filter      = each.value.filter

  metric_descriptor {
    metric_kind = each.value.metricDescriptor.metricKind
    value_type  = each.value.metricDescriptor.valueType
    unit        = each.value.metricDescriptor.unit

    dynamic "labels" {
      for_each = try(each.value.metricDescriptor.labels, [])

      content {
        key         = labels.value.key
        value_type  = labels.value.valueType
        description = labels.value.description
      }
    }
  }

  label_extractors = try(each.value.labelExtractors, null)
  value_extractor  = try(each.value.valueExtractor, null)
}

resource "google_monitoring_alert_policy" "policies" {
  for_each = local.policies

  display_name          = each.value.displayName
  combiner              = each.value.combiner
  severity              = each.value.severity
  enabled               = each.value.enabled
  notification_channels = var.notification_channels

  documentation {
    content   = each.value.documentation.content
    mime_type = each.value.documentation.mimeType
  }

  alert_strategy {
    auto_close = each.value.alertStrategy.autoClose
  }

  dynamic "conditions" {
    for_each = each.value.conditions

    content {
      display_name = conditions.value.displayName

      dynamic "condition_threshold" {
        for_each = try([conditions.value.conditionThreshold], [])

        content {
          filter          = condition_threshold.value.filter
          comparison      = condition_threshold.value.comparison
          threshold_value = condition_threshold.value.thresholdValue
          duration        = condition_threshold.value.duration

          dynamic "aggregations" {
            for_each = condition_threshold.value.aggregations

            content {
              alignment_period     = aggregations.value.alignmentPeriod
              per_series_aligner   = aggregations.value.perSeriesAligner
              cross_series_reducer = try(aggregations.value.crossSeriesReducer, null)
              group_by_fields      = try(aggregations.value.groupByFields, null)
            }
          }

          trigger {
            count = condition_threshold.value.trigger.count
          }
        }
      }

      dynamic "condition_absent" {
        for_each = try([conditions.value.conditionAbsent], [])

        content {
          filter   = condition_absent.value.filter
          duration = condition_absent.value.duration

          dynamic "aggregations" {
            for_each = condition_absent.value.aggregations

            content {
              alignment_period   = aggregations.value.alignmentPeriod
              per_series_aligner = aggregations.value.perSeriesAligner
            }
          }

          trigger {
            count = condition_absent.value.trigger.count
          }
        }
      }

      dynamic "condition_prometheus_query_language" {
        for_each = try([conditions.value.conditionPrometheusQueryLanguage], [])

        content {
          query               = condition_prometheus_query_language.value.query
          duration            = condition_prometheus_query_language.value.duration
          evaluation_interval = condition_prometheus_query_language.value.evaluationInterval
        }
      }
    }
  }

  # A policy is refused whose metric is not there yet.
  depends_on = [google_logging_metric.log]
}

resource "google_monitoring_dashboard" "currents" {
  dashboard_json = templatefile("${local.monitoring}/dashboard.json", local.names)

  depends_on = [google_logging_metric.log]
}
