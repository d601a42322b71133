with

customers as (

    select * from {{ ref('stg_customers') }}

),

orders as (

    select * from {{ ref('orders') }}

),

order_totals as (

    select
        customer_id,
        min(ordered_date) as first_order_date,
        max(ordered_date) as last_order_date,
        count(*) as order_count,
        sum(revenue) as lifetime_revenue,

    from orders
    group by customer_id

)

select
    customers.customer_id,
    customers.customer_name,
    customers.joined_date,
    order_totals.first_order_date,
    order_totals.last_order_date,
    coalesce(order_totals.order_count, 0) as order_count,
    coalesce(order_totals.lifetime_revenue, 0) as lifetime_revenue,
    case
        when order_totals.order_count is null then 'prospect'
        when order_totals.order_count = 1 then 'one-time'
        else 'returning'
    end as customer_type,

from customers
left join order_totals using (customer_id)
