with

customers as (

    select * from {{ ref('customers') }}
    where first_order_date is not null

),

orders as (

    select * from {{ ref('orders') }}

),

cohorts as (

    select
        customer_id,
        date_trunc('month', first_order_date)::date as cohort_month,

    from customers

),

cohort_sizes as (

    select
        cohort_month,
        count(*) as cohort_size,

    from cohorts
    group by cohort_month

),

activity as (

    select
        cohorts.cohort_month,
        date_diff('month', cohorts.cohort_month, orders.ordered_date) as month_number,
        count(distinct orders.customer_id) as active_customer_count,
        sum(orders.revenue) as revenue,

    from orders
    inner join cohorts using (customer_id)
    group by all

)

select
    activity.cohort_month,
    activity.month_number,
    cohort_sizes.cohort_size,
    activity.active_customer_count,
    (activity.active_customer_count / cohort_sizes.cohort_size)::decimal(5, 4) as retention_rate,
    activity.revenue,

from activity
inner join cohort_sizes using (cohort_month)
